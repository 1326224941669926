"""Hands images and videos to the processes that draw them, and may die of a damaged file.

A source of which whoever draws it dies is a failed one, like one that is missing; the others are
drawn all the same. Without Ray images are drawn here: what is drawn of them has been decoded by
the same decoders before, while of a video everything is read, the frames that kill included.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

from jobs.parallel.child_process import ChildCrashedError, ChildProcess
from jobs.parallel.map_blocks import TaskCrashed, map_blocks_isolated
from jobs.rendering.atomic_file import remove_unfinished
from jobs.rendering.images import ImageBlock, Outcome, draw_block
from jobs.rendering.video_tasks import PartOrder, VideoOrder, VideoOutcome, VideoPlan
from jobs.rendering.videos import DrawnPart, Joiner, draw_part, plan_or_draw

_DRAW_S, _FRAME_S = 300.0, 20.0  # of anything, and on top of it for each image or frame
_JOIN_S = 900.0  # of a part, which is copied, and of the sound beside it

_Block = ImageBlock | VideoOrder | PartOrder
_Drawn = list[Outcome] | VideoPlan | VideoOutcome | DrawnPart


def draw_all(
    images: Iterable[ImageBlock],
    videos: Iterable[VideoOrder],
    *,
    num_workers: int,
    address: str | None,
) -> Iterator[Outcome]:
    """Have everything drawn: images and short videos, then what is left, long videos in parts.

    Args:
        images: block by block.
        videos: one by one.
        num_workers: processes; 1 needs no Ray.
        address: of a Ray cluster; None for a private one.

    Yields:
        What became of each image and video.
    """
    draw = partial(
        map_blocks_isolated, _draw, num_workers=num_workers, address=address, limit_s=_limit_s
    )
    if num_workers == 1:
        for block in images:
            yield from draw_block(block)
        images = ()
    deadly: list[ImageBlock] = []
    plans: list[VideoPlan] = []
    for result in draw(itertools.chain(images, videos)):
        match result:
            case TaskCrashed(block=ImageBlock() as block):
                deadly.append(block)
            case TaskCrashed(block=VideoOrder() as order):
                yield _failed(order, result.reason)
            case VideoPlan():
                plans.append(result)
            case VideoOutcome():
                yield result
            case _:
                yield from cast("list[Outcome]", result)
    yield from _one_by_one(deadly, draw)
    drawn: Iterator[Any] = draw(part for plan in plans for part in plan.parts())
    for plan in plans:
        yield _joined(plan, itertools.islice(drawn, len(plan.segments)))


def _one_by_one(blocks: Iterable[ImageBlock], draw: Callable[..., Any]) -> Iterator[Outcome]:
    """Find the image that kills among many, and draw the others.

    Yields:
        What became of each.
    """
    alone = [replace(block, orders=[one], threads=1) for block in blocks for one in block.orders]
    for block, result in zip(alone, draw(alone), strict=True):
        uri = block.orders[0].item.uri
        if isinstance(result, TaskCrashed):
            yield Outcome(uri=uri, fate="failed", reason=f"{uri}: {result.reason}")
        else:
            yield from result


def _draw(block: _Block) -> _Drawn:
    """What the processes do."""
    if isinstance(block, ImageBlock):
        return draw_block(block)
    return draw_part(block) if isinstance(block, PartOrder) else plan_or_draw(block)


def _limit_s(block: _Block) -> float:
    """How long somebody may take for a block who does nothing else meanwhile."""
    if isinstance(block, ImageBlock):
        num_frames = len(block.orders)
    elif isinstance(block, PartOrder):
        num_frames = block.segment.num_frames
    else:
        num_frames = 1 + max((item.last_frame or 0) for item in block.items)
    return _DRAW_S + num_frames * _FRAME_S


def _joined(plan: VideoPlan, drawn: Iterator[DrawnPart | TaskCrashed[PartOrder]]) -> VideoOutcome:
    """Write a video of its parts, in a process of its own, for its sound is decoded there."""
    reason: str | None = None
    with ChildProcess(Joiner(plan)) as child:
        for part in drawn:  # to the last one, since those of the next video come behind it
            if isinstance(part, TaskCrashed):
                reason = reason or part.reason
            elif reason is None:
                _, reason = _asked(child, part)
        if reason is None:
            outcome, reason = _asked(child, None)
            if outcome is not None:
                return outcome
    return _failed(plan.order, reason or "")


def _asked(
    child: ChildProcess[DrawnPart | None, VideoOutcome | None], part: DrawnPart | None
) -> tuple[VideoOutcome | None, str | None]:
    """Give the next part to who joins them; what it answers, or why it does not."""
    try:
        return child.call(part, limit_s=_JOIN_S), None
    except ChildCrashedError as error:
        return None, f"whoever joins its parts dies: {error}"


def _failed(order: VideoOrder, reason: str) -> VideoOutcome:
    remove_unfinished(order.out)
    return VideoOutcome(uri=order.uri, fate="failed", reason=f"{order.uri}: {reason}")
