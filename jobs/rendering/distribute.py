"""Distributes images and videos over the processes that draw them; a damaged file may crash one.

A source that crashes its process is counted as failed, as a missing source is counted as missing,
and the other sources are drawn. Without Ray, images are drawn in this process: the run has decoded
them before with the same decoders. Of a video every frame is read, also those the run did not take,
so videos are drawn in another process.
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
from jobs.rendering.video_tasks import VideoOutcome, VideoPart, VideoPlan, VideoWorkItem
from jobs.rendering.videos import DrawnPart, VideoJoiner, draw_part, plan_or_draw

_DRAW_S, _FRAME_S = 300.0, 20.0  # time limit: for each block, and more for each image or frame
_JOIN_S = 900.0  # time limit: to copy one part, and the sound beside it

_Block = ImageBlock | VideoWorkItem | VideoPart
_Drawn = list[Outcome] | VideoPlan | VideoOutcome | DrawnPart


def draw_all(
    images: Iterable[ImageBlock],
    videos: Iterable[VideoWorkItem],
    *,
    num_workers: int,
    address: str | None,
) -> Iterator[Outcome]:
    """Draw all images and short videos, then long videos in parts; one worker needs no Ray.

    Yields:
        The outcome of each image and video.
    """
    draw = partial(
        map_blocks_isolated, _draw, num_workers=num_workers, address=address, limit_s=_limit_s
    )
    if num_workers == 1:
        for block in images:
            yield from draw_block(block)
        images = ()
    crashed: list[ImageBlock] = []
    plans: list[VideoPlan] = []
    for result in draw(itertools.chain(images, videos)):
        match result:
            case TaskCrashed(block=ImageBlock() as block):
                crashed.append(block)
            case TaskCrashed(block=VideoWorkItem() as work):
                yield _failed(work, result.reason)
            case VideoPlan():
                plans.append(result)
            case VideoOutcome():
                yield result
            case _:
                yield from cast("list[Outcome]", result)
    yield from _one_by_one(crashed, draw)
    drawn: Iterator[Any] = draw(part for plan in plans for part in plan.parts())
    for plan in plans:
        yield _joined(plan, itertools.islice(drawn, len(plan.segments)))


def _one_by_one(blocks: Iterable[ImageBlock], draw: Callable[..., Any]) -> Iterator[Outcome]:
    # Alone, so that only the image that crashes its process fails.
    alone = [replace(block, items=[work], threads=1) for block in blocks for work in block.items]
    for block, result in zip(alone, draw(alone), strict=True):
        uri = block.items[0].item.uri
        if isinstance(result, TaskCrashed):
            yield Outcome(uri=uri, status="failed", reason=f"{uri}: {result.reason}")
        else:
            yield from result


def _draw(block: _Block) -> _Drawn:
    if isinstance(block, ImageBlock):
        return draw_block(block)
    return draw_part(block) if isinstance(block, VideoPart) else plan_or_draw(block)


def _limit_s(block: _Block) -> float:
    if isinstance(block, ImageBlock):
        num_frames = len(block.items)
    elif isinstance(block, VideoPart):
        num_frames = block.segment.num_frames
    else:
        num_frames = 1 + max((item.last_frame or 0) for item in block.items)
    return _DRAW_S + num_frames * _FRAME_S


def _joined(plan: VideoPlan, drawn: Iterator[DrawnPart | TaskCrashed[VideoPart]]) -> VideoOutcome:
    """Write a video from its parts in a process of its own, since its sound is decoded there."""
    reason: str | None = None
    with ChildProcess(VideoJoiner(plan)) as child:
        for part in drawn:  # to the last part, since the parts of the next video follow
            if isinstance(part, TaskCrashed):
                reason = reason or part.reason
            elif reason is None:
                _, reason = _join(child, part)
        if reason is None:
            outcome, reason = _join(child, None)
            if outcome is not None:
                return outcome
    return _failed(plan.work, reason or "")


def _join(
    child: ChildProcess[DrawnPart | None, VideoOutcome | None], part: DrawnPart | None
) -> tuple[VideoOutcome | None, str | None]:
    """Return the joining process's answer to the next part; or None, and why it did not answer."""
    try:
        return child.call(part, limit_s=_JOIN_S), None
    except ChildCrashedError as error:
        return None, f"the process that joins its parts dies: {error}"


def _failed(work: VideoWorkItem, reason: str) -> VideoOutcome:
    remove_unfinished(work.out)
    return VideoOutcome(uri=work.uri, status="failed", reason=f"{work.uri}: {reason}")
