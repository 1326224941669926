"""Which form of decoding a device takes."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from fcos_core.config import DecodingConfig
from fcos_core.decoding.exact import decode_exact
from fcos_core.decoding.fixed import decode_fixed
from fcos_core.decoding.structures import DecodedBatch
from fcos_core.locations import LocationGrid
from fcos_core.structures import HeadOutputs


def decode(
    outputs: HeadOutputs,
    grid: LocationGrid,
    config: DecodingConfig,
    *,
    sizes: Float[Tensor, "B 2"],
    unit_px: Float[Tensor, " L"],
) -> DecodedBatch:
    """Decode a batch of outputs in any precision, on their device, without waiting for it.

    On a CPU all images are exact. On another device look at ``is_exact`` when the detections are
    read, and call :func:`decode_again` where it is false. What is found in an image whose outputs
    are not finite has no meaning; it does not change the other images.

    Args:
        outputs: outputs of the head.
        grid: the locations.
        config: thresholds and limits.
        sizes: height and width of each image inside its padding; boxes are clipped to them.
        unit_px: length of one unit of ``outputs.distances`` in pixels, per location.
    """
    form = decode_exact if outputs.cls_logits.device.type == "cpu" else decode_fixed
    return form(outputs, grid, config, sizes=sizes, unit_px=unit_px)


def decode_again(
    decoded: DecodedBatch,
    outputs: HeadOutputs,
    grid: LocationGrid,
    config: DecodingConfig,
    *,
    sizes: Float[Tensor, "B 2"],
    unit_px: Float[Tensor, " L"],
) -> DecodedBatch:
    """Decode the images that are not exact again, on the CPU.

    Args:
        decoded: what :func:`decode` found, on the CPU.
        outputs: and the others: what :func:`decode` was called with.
        grid: see there.
        config: see there.
        sizes: see there.
        unit_px: see there.
    """
    images = torch.nonzero(~decoded.is_exact)[:, 0]
    at = images.to(outputs.cls_logits.device)
    on_cpu = HeadOutputs(
        outputs.cls_logits[at].cpu(),
        outputs.distances[at].cpu(),
        outputs.centerness_logits[at].cpu(),
        outputs.level_shapes,
    )
    exact = decode_exact(
        on_cpu,
        replace(grid, points=grid.points.cpu()),
        config,
        sizes=sizes.cpu()[images],
        unit_px=unit_px.cpu(),
    )
    decoded = decoded.widened(exact.scores.shape[1])
    width = exact.scores.shape[1]
    decoded.boxes[images, :width] = exact.boxes
    decoded.scores[images, :width] = exact.scores
    decoded.labels[images, :width] = exact.labels
    decoded.counts[images] = exact.counts
    decoded.is_exact[images] = True
    return decoded
