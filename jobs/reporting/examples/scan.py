"""One pass over a run's rows, a shard at a time: what was found, what failed, what stands out.

Memory holds one shard, some counters and the images that are going to be shown.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fcos_core.metrics.bpr.groups import groupings
from fcos_core.metrics.bpr.structures import BoxBlock
from jobs.reporting.examples.selection import JudgedChoices, Panel, PlainChoices
from jobs.reporting.examples.truth import JudgedImage, Truth
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import Row, table_to_rows
from jobs.rundir.shard_reading import iterate_rows

SCORE_EDGES = tuple(i / 20 for i in range(21))
SIDE_EDGES_PX = (0, 8, 16, 32, 64, 128, 256, 512)
"""Of a box's longer side; the last interval has no end."""

NUM_LISTED = 50
"""Quarantined images that are named on the page."""

GROUPINGS = ("area", "side", "aspect", "crowding")
"""What objects are sorted by to say which are found."""


_FRAME_PANELS = 2  # the first ones: a frame takes longer to read than an image
_DEEPEST = 1000  # frames between the first of a segment and one that is shown


@dataclass(frozen=True, kw_only=True)
class Refused:
    """An image that could not be used."""

    uri: str
    error_class: str
    error: str


@dataclass
class GroupTally:
    """Annotated objects of one kind.

    Attributes:
        total: how many.
        found: by a detection of any score.
        found_at_score: by one of the score from which detections count.
    """

    total: int = 0
    found: int = 0
    found_at_score: int = 0


@dataclass
class Scan:
    """What the rows of a run hold.

    Attributes:
        score: from which on detections count.
        num_ok: images and frames that were looked at.
        num_empty: of them, those without a detection of that score.
        num_frames: of them, those of videos.
        detections: per category id, of any score.
        counted: per category id, of that score.
        images: per category id, those with a detection of that score.
        score_counts: detections by the intervals between ``SCORE_EDGES``.
        side_counts: detections of that score by ``SIDE_EDGES_PX``.
        refused_classes: quarantined images by class of error.
        refused: the first of them.
        groups: annotated objects by grouping and group, in order; empty without annotations.
        panels: the images to show.
        frame_panels: the frames of videos to show.
        detections_of_videos: of that score, by uri of the video.
    """

    score: float
    num_ok: int = 0
    num_empty: int = 0
    num_frames: int = 0
    detections: Counter[int] = field(default_factory=Counter[int])
    counted: Counter[int] = field(default_factory=Counter[int])
    images: Counter[int] = field(default_factory=Counter[int])
    score_counts: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(SCORE_EDGES) - 1, np.int64)
    )
    side_counts: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(SIDE_EDGES_PX), np.int64)
    )
    refused_classes: Counter[str] = field(default_factory=Counter[str])
    refused: list[Refused] = field(default_factory=list[Refused])
    groups: dict[str, dict[str, GroupTally]] = field(
        default_factory=dict[str, dict[str, GroupTally]]
    )
    panels: list[Panel] = field(default_factory=list[Panel])
    frame_panels: list[Panel] = field(default_factory=list[Panel])
    detections_of_videos: Counter[str] = field(default_factory=Counter[str])


def scan(run: RunDirectory, truth: Truth | None, score: float) -> Scan:
    """Read all rows of a run once.

    Args:
        run: the run.
        truth: its ground truth; None to do without.
        score: from which on detections count.
    """
    result = Scan(score=score)
    kinds = JudgedChoices if truth is not None else PlainChoices
    images, frames = kinds(score, "images"), kinds(score, "frames")
    for table in iterate_rows(run):
        rows = table_to_rows(table)
        used = [row for row in rows if row.status == "ok"]
        _count_refused(result, [row for row in rows if row.status != "ok"])
        _count_found(result, used)
        stills = [row for row in used if row.frame_index is None]
        _offer(stills, truth, images, result)
        _offer(_showable(used), truth, frames, None)
    result.panels, result.frame_panels = images.panels(), frames.panels()[:_FRAME_PANELS]
    return result


def _offer(
    rows: list[Row], truth: Truth | None, choices: JudgedChoices | PlainChoices, groups: Scan | None
) -> None:
    """Let rows be chosen, and sort their objects into groups."""
    if isinstance(choices, PlainChoices):
        for row in rows:
            choices.offer(row)
        return
    assert truth is not None
    judged = truth.judge([row for row in rows if truth.knows(row)])
    if groups is not None:
        _count_groups(groups, judged)
    for image in judged:
        choices.offer(image)


def _showable(rows: list[Row]) -> list[Row]:
    """The frames of videos that are soon decoded, even from the start of their segment on."""
    first: dict[int, int] = {}
    return [
        row
        for row in rows
        if row.frame_index is not None
        and row.frame_index - first.setdefault(row.item_id, row.frame_index) <= _DEEPEST
    ]


def _count_refused(result: Scan, rows: list[Row]) -> None:
    for row in rows:
        error_class = row.error_class or "unknown"
        result.refused_classes[error_class] += 1
        if len(result.refused) < NUM_LISTED:
            result.refused.append(
                Refused(uri=row.uri, error_class=error_class, error=row.error or "")
            )


def _count_found(result: Scan, rows: list[Row]) -> None:
    for row in rows:
        counts = row.scores >= result.score
        result.num_ok += 1
        result.num_empty += not counts.any()
        if row.frame_index is not None:
            result.num_frames += 1
            result.detections_of_videos[row.uri] += int(counts.sum())
        result.detections.update(row.category_ids.tolist())
        counted = row.category_ids[counts].tolist()
        result.counted.update(counted)
        result.images.update(set(counted))
    scores = np.concatenate([np.zeros(0, np.float32), *(row.scores for row in rows)])
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(row.boxes for row in rows)])
    result.score_counts += np.histogram(scores, SCORE_EDGES)[0]
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)[scores >= result.score]
    interval = np.searchsorted(SIDE_EDGES_PX, sides, side="right") - 1
    result.side_counts += np.bincount(np.maximum(interval, 0), minlength=len(SIDE_EDGES_PX))


def _count_groups(result: Scan, judged: list[JudgedImage]) -> None:
    """Sort annotated objects as ``fcos bpr`` does, and count those that are found."""
    boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes for one in judged)])
    found_at = np.concatenate([np.zeros(0), *(one.found_at for one in judged)])
    areas = np.concatenate([np.zeros(0), *(one.areas for one in judged)])
    lengths = [len(one.boxes) for one in judged]
    block = BoxBlock(
        image_sizes=np.array([_size(one.row) for one in judged], np.int64).reshape(-1, 2),
        image_index=np.repeat(np.arange(len(judged)), lengths),
        boxes=np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1),
        labels=np.zeros(len(boxes), np.int64),
    )
    for grouping in groupings(block, areas, ("all",)):
        if grouping.name not in GROUPINGS:
            continue
        tallies = result.groups.setdefault(
            grouping.name, {name: GroupTally() for name in grouping.names}
        )
        for i, tally in enumerate(tallies.values()):
            own = found_at[grouping.group == i]
            tally.total += len(own)
            tally.found += int((own >= 0).sum())
            tally.found_at_score += int((own >= result.score).sum())


def _size(row: Row) -> tuple[int, int]:
    return row.height or 1, row.width or 1
