"""One pass over a run's rows, shard by shard: counts of detections and errors, and examples.

Memory holds one shard, the counters and the rows of the examples.
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
from fcos_core.metrics.coco import xyxy_to_xywh
from jobs.reporting.examples.ground_truth import MatchedImage, RunGroundTruth
from jobs.reporting.examples.selection import AnnotatedSelection, ExampleSet, UnannotatedSelection
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import Row, table_to_rows
from jobs.rundir.shard_reading import iterate_rows

SCORE_EDGES = tuple(i / 20 for i in range(21))
SIDE_EDGES_PX = (0, 8, 16, 32, 64, 128, 256, 512)
"""Edges of the intervals of a box's longer side; the last interval has no upper edge."""

NUM_LISTED = 50
"""Number of quarantined items that the page names."""

GROUPINGS = ("area", "side", "aspect", "crowding")
"""The properties by which annotated objects are grouped."""

_NUM_FRAME_SETS = 2  # only the first ones: a frame takes longer to decode than an image
_MAX_FRAMES_AHEAD = 1000  # a later frame of a segment takes too long to decode


@dataclass(frozen=True, kw_only=True)
class QuarantinedImage:
    """A quarantined image, frame or video."""

    uri: str
    error_class: str
    error: str


@dataclass
class GroupTally:
    """Counts of one group's objects: all, found at any score, and found at scores that count."""

    total: int = 0
    found: int = 0
    found_at_score: int = 0


@dataclass
class Scan:
    """Counts and examples of a run.

    Attributes:
        score: least score of a detection that counts.
        num_ok: number of images and frames with status ok.
        num_empty: number of images and frames without a detection that counts.
        num_frames: number of frames with status ok.
        detections: number of detections of any score, by category id.
        counted: number of detections that count, by category id.
        images: number of images and frames with a detection that counts, by category id.
        score_counts: number of detections in each interval of ``SCORE_EDGES``.
        side_counts: number of detections that count in each interval of ``SIDE_EDGES_PX``.
        quarantined_by_class: number of quarantined items by class of error.
        quarantined: the first ``NUM_LISTED`` quarantined items.
        groups: annotated objects by grouping and group, in order; empty without annotations.
        example_sets: example images.
        frame_example_sets: example frames of videos.
        detections_of_videos: number of detections that count, by uri of the video.
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
    quarantined_by_class: Counter[str] = field(default_factory=Counter[str])
    quarantined: list[QuarantinedImage] = field(default_factory=list[QuarantinedImage])
    groups: dict[str, dict[str, GroupTally]] = field(
        default_factory=dict[str, dict[str, GroupTally]]
    )
    example_sets: list[ExampleSet] = field(default_factory=list[ExampleSet])
    frame_example_sets: list[ExampleSet] = field(default_factory=list[ExampleSet])
    detections_of_videos: Counter[str] = field(default_factory=Counter[str])


def scan(run: RunDirectory, truth: RunGroundTruth | None, score: float) -> Scan:
    """Read all rows of a run once; detections with at least this score count."""
    result = Scan(score=score)
    kinds = AnnotatedSelection if truth is not None else UnannotatedSelection
    images, frames = kinds(score, "images"), kinds(score, "frames")
    for table in iterate_rows(run):
        rows = table_to_rows(table)
        used = [row for row in rows if row.status == "ok"]
        _count_quarantined(result, [row for row in rows if row.status != "ok"])
        _count_found(result, used)
        stills = [row for row in used if row.frame_index is None]
        _add_examples(stills, truth, images, result)
        _add_examples(_showable(used), truth, frames, None)
    result.example_sets = images.example_sets()
    result.frame_example_sets = frames.example_sets()[:_NUM_FRAME_SETS]
    return result


def _add_examples(
    rows: list[Row],
    truth: RunGroundTruth | None,
    selection: AnnotatedSelection | UnannotatedSelection,
    groups: Scan | None,
) -> None:
    """Add rows to a selection, and their annotated objects to the groups, if any."""
    if isinstance(selection, UnannotatedSelection):
        for row in rows:
            selection.add(row)
        return
    assert truth is not None
    matched = truth.match([row for row in rows if truth.is_annotated(row)])
    if groups is not None:
        _count_groups(groups, matched)
    for image in matched:
        selection.add(image)


def _showable(rows: list[Row]) -> list[Row]:
    """Frames of videos that lie near enough to the start of their segment to decode them alone."""
    first: dict[int, int] = {}
    return [
        row
        for row in rows
        if row.frame_index is not None
        and row.frame_index - first.setdefault(row.item_id, row.frame_index) <= _MAX_FRAMES_AHEAD
    ]


def _count_quarantined(result: Scan, rows: list[Row]) -> None:
    for row in rows:
        error_class = row.error_class or "unknown"
        result.quarantined_by_class[error_class] += 1
        if len(result.quarantined) < NUM_LISTED:
            result.quarantined.append(
                QuarantinedImage(uri=row.uri, error_class=error_class, error=row.error or "")
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


def _count_groups(result: Scan, matched: list[MatchedImage]) -> None:
    """Group annotated objects as ``fcos bpr`` does, and count those that are found."""
    boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes for one in matched)])
    matched_scores = np.concatenate([np.zeros(0), *(one.matched_scores for one in matched)])
    areas = np.concatenate([np.zeros(0), *(one.areas for one in matched)])
    lengths = [len(one.boxes) for one in matched]
    block = BoxBlock(
        image_sizes=np.array([_size(one.row) for one in matched], np.int64).reshape(-1, 2),
        image_index=np.repeat(np.arange(len(matched)), lengths),
        boxes=xyxy_to_xywh(boxes),
        labels=np.zeros(len(boxes), np.int64),
    )
    for grouping in groupings(block, areas, ("all",)):
        if grouping.name not in GROUPINGS:
            continue
        tallies = result.groups.setdefault(
            grouping.name, {name: GroupTally() for name in grouping.names}
        )
        for i, tally in enumerate(tallies.values()):
            own = matched_scores[grouping.group == i]
            tally.total += len(own)
            tally.found += int((own >= 0).sum())
            tally.found_at_score += int((own >= result.score).sum())


def _size(row: Row) -> tuple[int, int]:
    return row.height or 1, row.width or 1
