"""Bias, group norm and ReLU of several maps, channels last, in two launches of a Triton kernel.

torch's group norm on CUDA rearranges channels-last maps twice and rounds mean and deviation to the
maps' type. Here a first kernel measures pieces of the maps, and a second one merges the pieces of
an image in a fixed order, normalises and applies ReLU. All is computed in float32. A result depends
on its image alone, and there are no atomic additions, so it has the same bits every time.
"""

# Triton compiles its functions from their source; their parameters have no types of Python's.
# ruff: noqa: ANN001, N803
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportUntypedFunctionDecorator=false
# pyright: reportArgumentType=false, reportIndexIssue=false
# pyright: reportCallIssue=false

from collections.abc import Sequence
from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

MAX_MAPS = 5

_PIECE = 256  # locations that one program measures or normalises
_TILE = 32  # locations at a time
_PIECES_AT_ONCE = 64
_NUM_WARPS = 8

_GEOMETRY = [f"{name}_{i}" for i in range(MAX_MAPS) for name in ("size", "end")][:-1]
"""Arguments for whose values no kernel of its own is compiled."""


def group_norm_relu(levels: Sequence[Tensor], bias: Tensor, norm: nn.GroupNorm) -> list[Tensor]:
    """Compute ``relu(norm(maps + bias))`` for maps of any sizes with equal images and channels.

    Args:
        levels: images x channels x rows x columns, contiguous with channels last.
        bias: one number per channel.
        norm: with as many groups and channels as are powers of two.

    Returns:
        New tensors like ``levels``.

    Raises:
        ValueError: channels or groups are no power of two, or maps have another memory format.
    """
    channels, groups = norm.num_channels, norm.num_groups
    if channels & (channels - 1) or groups & (groups - 1):
        raise ValueError(f"{channels} channels in {groups} groups: must be powers of two")
    for maps in levels:
        if not maps.is_contiguous(memory_format=torch.channels_last):
            raise ValueError("maps must be contiguous with channels last")
    outputs = [torch.empty_like(maps) for maps in levels]
    for start in range(0, len(levels), MAX_MAPS):
        stop = start + MAX_MAPS
        _launch(levels[start:stop], outputs[start:stop], bias, norm)
    return outputs


def _launch(
    levels: Sequence[Tensor], outputs: Sequence[Tensor], bias: Tensor, norm: nn.GroupNorm
) -> None:
    num_images = len(levels[0])
    sizes = [int(maps.shape[-2] * maps.shape[-1]) for maps in levels]
    ends = list(accumulate(num_images * -(-size // _PIECE) for size in sizes))
    missing = MAX_MAPS - len(levels)
    # A map of no programs stands for each that is missing.
    inputs, results = [*levels, *[levels[-1]] * missing], [*outputs, *[outputs[-1]] * missing]
    sizes, ends = [*sizes, *sizes[-1:] * missing], [*ends, *ends[-1:] * missing]
    pieces = torch.empty(
        (ends[-1], 2, norm.num_groups), dtype=torch.float32, device=levels[0].device
    )
    geometry = [value for pair in zip(sizes, ends, strict=True) for value in pair][:-1]
    shape = {
        "CHANNELS": norm.num_channels,
        "GROUPS": norm.num_groups,
        "PIECE": _PIECE,
        "TILE": _TILE,
        "num_warps": _NUM_WARPS,
        "enable_fp_fusion": True,
    }
    _measure[ends[-1],](*inputs, bias, pieces, *geometry, **shape)
    _normalise[ends[-1],](
        *inputs, *results, bias, norm.weight, norm.bias, pieces, norm.eps, *geometry,
        **shape, PIECES_AT_ONCE=_PIECES_AT_ONCE,
    )  # fmt: skip


@triton.jit(do_not_specialize=_GEOMETRY)
def _measure(
    maps_0, maps_1, maps_2, maps_3, maps_4, bias, pieces,
    size_0, end_0, size_1, end_1, size_2, end_2, size_3, end_3, size_4,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, PIECE: tl.constexpr, TILE: tl.constexpr,
) -> None:  # fmt: skip
    """Write mean, and sum of squared distances from it, of each group in one piece."""
    program = tl.program_id(0)
    if program < end_0:
        maps, size, local = maps_0, size_0, program
    elif program < end_1:
        maps, size, local = maps_1, size_1, program - end_0
    elif program < end_2:
        maps, size, local = maps_2, size_2, program - end_1
    elif program < end_3:
        maps, size, local = maps_3, size_3, program - end_2
    else:
        maps, size, local = maps_4, size_4, program - end_3
    per_image = tl.cdiv(size, PIECE)
    image, piece = local // per_image, local % per_image
    channel = tl.arange(0, CHANNELS)
    group = tl.arange(0, GROUPS)
    added = tl.load(bias + channel).to(tl.float32)
    maps += image.to(tl.int64) * size * CHANNELS
    width: tl.constexpr = CHANNELS // GROUPS

    count = 0.0
    mean = tl.zeros((GROUPS,), tl.float32)
    squares = tl.zeros((GROUPS,), tl.float32)
    for first in range(0, PIECE, TILE):
        location = piece * PIECE + first + tl.arange(0, TILE)
        inside = location < size
        num_locations = tl.minimum(tl.maximum(size - piece * PIECE - first, 0), TILE)
        if num_locations > 0:
            values = tl.load(
                maps + location[:, None] * CHANNELS + channel[None, :],
                mask=inside[:, None],
                other=0.0,
            ).to(tl.float32)
            values = tl.where(inside[:, None], values + added[None, :], 0.0)
            tile_count = (num_locations * width).to(tl.float32)
            sums = tl.sum(values, axis=0)
            tile_mean = tl.sum(tl.reshape(sums, (GROUPS, width)), axis=1) / tile_count
            of_channel = tl.reshape(
                tl.broadcast_to(tile_mean[:, None], (GROUPS, width)), (CHANNELS,)
            )
            distance = tl.where(inside[:, None], values - of_channel[None, :], 0.0)
            tile_squares = tl.sum(distance * distance, axis=0)
            tile_squares = tl.sum(tl.reshape(tile_squares, (GROUPS, width)), axis=1)
            # Chan et al., 1979: mean and squares of two samples together.
            total = count + tile_count
            change = tile_mean - mean
            squares += tile_squares + change * change * (count * tile_count / total)
            mean += change * (tile_count / total)
            count = total
    tl.store(pieces + program * 2 * GROUPS + group, mean)
    tl.store(pieces + program * 2 * GROUPS + GROUPS + group, squares)


@triton.jit(do_not_specialize=_GEOMETRY)
def _normalise(
    maps_0, maps_1, maps_2, maps_3, maps_4, result_0, result_1, result_2, result_3, result_4,
    bias, weight, offset, pieces, epsilon,
    size_0, end_0, size_1, end_1, size_2, end_2, size_3, end_3, size_4,
    CHANNELS: tl.constexpr, GROUPS: tl.constexpr, PIECE: tl.constexpr, TILE: tl.constexpr,
    PIECES_AT_ONCE: tl.constexpr,
) -> None:  # fmt: skip
    """Merge the pieces of an image, and normalise one of them."""
    program = tl.program_id(0)
    if program < end_0:
        maps, result, size, local = maps_0, result_0, size_0, program
    elif program < end_1:
        maps, result, size, local = maps_1, result_1, size_1, program - end_0
    elif program < end_2:
        maps, result, size, local = maps_2, result_2, size_2, program - end_1
    elif program < end_3:
        maps, result, size, local = maps_3, result_3, size_3, program - end_2
    else:
        maps, result, size, local = maps_4, result_4, size_4, program - end_3
    per_image = tl.cdiv(size, PIECE)
    image, piece = local // per_image, local % per_image
    channel = tl.arange(0, CHANNELS)
    group = tl.arange(0, GROUPS)
    width: tl.constexpr = CHANNELS // GROUPS
    pieces += (program - piece) * 2 * GROUPS  # the first of this image

    total = (size * width).to(tl.float32)
    mean = tl.zeros((GROUPS,), tl.float32)
    for first in range(0, per_image, PIECES_AT_ONCE):
        index = first + tl.arange(0, PIECES_AT_ONCE)
        places = pieces + index[:, None] * 2 * GROUPS + group[None, :]
        means = tl.load(places, mask=(index < per_image)[:, None], other=0.0)
        counts = tl.minimum(tl.maximum(size - index * PIECE, 0), PIECE) * width
        mean += tl.sum(means * (counts.to(tl.float32) / total)[:, None], axis=0)
    squares = tl.zeros((GROUPS,), tl.float32)
    for first in range(0, per_image, PIECES_AT_ONCE):
        index = first + tl.arange(0, PIECES_AT_ONCE)
        is_piece = (index < per_image)[:, None]
        places = pieces + index[:, None] * 2 * GROUPS + group[None, :]
        change = tl.load(places, mask=is_piece, other=0.0) - mean[None, :]
        counts = tl.minimum(tl.maximum(size - index * PIECE, 0), PIECE) * width
        inner = tl.load(places + GROUPS, mask=is_piece, other=0.0)
        squares += tl.sum(inner + change * change * counts.to(tl.float32)[:, None], axis=0)
    deviation = 1.0 / tl.sqrt(squares / total + epsilon)

    mean = tl.reshape(tl.broadcast_to(mean[:, None], (GROUPS, width)), (CHANNELS,))
    factor = tl.reshape(tl.broadcast_to(deviation[:, None], (GROUPS, width)), (CHANNELS,))
    factor = factor * tl.load(weight + channel).to(tl.float32)
    added = tl.load(bias + channel).to(tl.float32)
    moved = tl.load(offset + channel).to(tl.float32)
    start = image.to(tl.int64) * size * CHANNELS
    for first in range(0, PIECE, TILE):
        location = piece * PIECE + first + tl.arange(0, TILE)
        places = start + location[:, None] * CHANNELS + channel[None, :]
        inside = (location < size)[:, None]
        values = tl.load(maps + places, mask=inside, other=0.0).to(tl.float32)
        # In this order the distance of a lone value from itself is exactly 0.
        values = (values + added[None, :] - mean[None, :]) * factor[None, :] + moved[None, :]
        # Not a maximum with 0, which would hide NaN.
        values = tl.where(values < 0.0, 0.0, values)
        tl.store(result + places, values.to(result.dtype.element_ty), mask=inside)
