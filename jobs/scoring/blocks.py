"""Cuts a run, or a results file, and its ground truth into blocks of images to be scored apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fcos_core.metrics.coco import DetectedBoxes, TrueBoxes, canonical_order, xyxy_to_xywh
from fcos_core.metrics.counting import count_up
from jobs.annotations.coco_json import CocoAnnotations, CocoResults
from jobs.annotations.join import Join
from jobs.annotations.join_frames import FrameJoin
from jobs.annotations.json_columns import UNKNOWN_SIDE, Int64Array
from jobs.annotations.true_boxes import true_boxes
from jobs.rundir.detection_columns import read_detection_columns
from jobs.rundir.directory import RunDirectory, ShardListing

# Enough for the work to outweigh its overhead, few enough to fit beside others in memory.
_IMAGES_PER_BLOCK = 4_000
_DETECTIONS_PER_BLOCK = 400_000


@dataclass(frozen=True)
class RunPart:
    """Some shards of a run, as listed, and the images or frames in them that are scored.

    The image ids are the run's, in the order of the block's; the shards may hold other images.
    """

    run: str
    shards: ShardListing
    image_ids: Int64Array


@dataclass(frozen=True)
class ScoringBlock:
    """Some images, by their ids in the annotation file, and width and height there (0: unknown).

    ``found`` are their detections in the order that counts, or the shards to read them from.
    """

    truth: TrueBoxes
    found: DetectedBoxes | RunPart
    image_ids: Int64Array
    image_sizes: Int64Array


class TruthByImage:
    """The boxes of an annotation file, by image."""

    def __init__(self, annotations: CocoAnnotations) -> None:
        self._annotations = annotations
        self._all = true_boxes(annotations)
        self._order = np.argsort(annotations.image_index, kind="stable")
        self._sorted = annotations.image_index[self._order]
        self._by_id = np.argsort(annotations.image_ids)

    def places(self, image_ids: Int64Array) -> Int64Array:
        """Return the positions of annotated images in the file."""
        ids = self._annotations.image_ids
        return self._by_id[np.searchsorted(ids, image_ids, sorter=self._by_id)]

    def of(self, places: Int64Array) -> TrueBoxes:
        """Return the boxes of the images at some positions, each image's in the file's order."""
        first = np.searchsorted(self._sorted, places)
        count = np.searchsorted(self._sorted, places, side="right") - first
        _, chosen = count_up(first, count)
        return self._all.take(self._order[chosen])


def blocks_of_run(
    directory: RunDirectory,
    join: Join | FrameJoin,
    image_shards: Int64Array,
    annotations: CocoAnnotations,
) -> Iterator[ScoringBlock]:
    """Cut a run's images, or its frames, between shards.

    ``image_shards`` has the shard of each joined image, in manifest order: it never falls.

    Yields:
        At least one block, of whole shards; the blocks have all that is joined.
    """
    truth, listing = TruthByImage(annotations), directory.list_shards()
    shards, starts = np.unique(image_shards, return_index=True)
    bounds = [*starts.tolist(), len(image_shards)]
    first = 0
    for last in range(min(1, len(shards)), len(shards) + 1):
        if last < len(shards) and bounds[last + 1] - bounds[first] <= _IMAGES_PER_BLOCK:
            continue
        rows = slice(bounds[first], bounds[last])
        places = truth.places(join.annotated_ids[rows])
        part = RunPart(
            run=directory.uri,
            shards=listing.of(shards[first:last]),
            image_ids=join.image_ids[rows],
        )
        sizes = annotations.image_sizes[places]
        yield ScoringBlock(truth.of(places), part, join.annotated_ids[rows], sizes)
        first = last


def blocks_of_results(results: CocoResults, annotations: CocoAnnotations) -> Iterator[ScoringBlock]:
    """Cut a results file between images; within an image the file's order stays.

    Yields:
        At least one block; by rising id, the blocks have all annotated images.
    """
    truth = TruthByImage(annotations)
    order = np.argsort(results.image_ids, kind="stable")
    image_ids = np.sort(annotations.image_ids)
    ends = np.searchsorted(results.image_ids[order], image_ids, side="right")
    first = 0
    while first < max(1, len(image_ids)):
        begin = int(ends[first - 1]) if first else 0
        reach = int(np.searchsorted(ends, begin + _DETECTIONS_PER_BLOCK, side="right"))
        last = min(max(first + 1, reach), first + _IMAGES_PER_BLOCK)
        rows = order[begin : int(ends[:last][-1]) if len(ends) else 0]
        found = DetectedBoxes(
            results.image_ids[rows],
            results.category_ids[rows],
            results.boxes[rows],
            results.scores[rows],
        )
        places = truth.places(image_ids[first:last])
        sizes = annotations.image_sizes[places]
        yield ScoringBlock(truth.of(places), found, image_ids[first:last], sizes)
        first = last


@dataclass(frozen=True)
class Found:
    """What was found in a block's images.

    Attributes:
        boxes: the detections by annotated image id, in canonical order.
        image_sizes: width and height of each image, from its row where the annotation has none; 0
            where neither has.
        num_size_mismatches: images that have another size than their annotation says.
    """

    boxes: DetectedBoxes
    image_sizes: Int64Array
    num_size_mismatches: int


def read_found(block: ScoringBlock) -> Found:
    """Read a block's detections from its shards, unless the block holds them."""
    part = block.found
    if isinstance(part, DetectedBoxes):
        return Found(part, block.image_sizes, 0)
    if not len(part.shards.shards):
        return Found(_NONE, block.image_sizes, 0)
    detected = read_detection_columns(RunDirectory(part.run), listing=part.shards)
    order = np.argsort(part.image_ids)
    places, own = _places(part.image_ids, order, detected.image_ids)
    found = DetectedBoxes(
        image_ids=block.image_ids[places],
        category_ids=detected.category_ids[own].astype(np.int64),
        boxes=xyxy_to_xywh(detected.boxes[own].astype(np.float64)),
        scores=detected.scores[own].astype(np.float64),
    )
    rows, own = _places(part.image_ids, order, detected.row_image_ids)
    sizes = np.stack([detected.row_widths, detected.row_heights], axis=1)[own]
    annotated = block.image_sizes[rows]
    is_said = annotated != UNKNOWN_SIDE
    is_other: npt.NDArray[np.bool_] = (is_said & (sizes != annotated)).any(axis=1)
    image_sizes = block.image_sizes.copy()
    image_sizes[rows] = np.where(is_said, annotated, sizes)
    num_size_mismatches = int((is_other & detected.row_is_ok[own]).sum())
    return Found(found.take(canonical_order(found)), image_sizes, num_size_mismatches)


_NONE = DetectedBoxes(
    image_ids=np.zeros(0, np.int64),
    category_ids=np.zeros(0, np.int64),
    boxes=np.zeros((0, 4)),
    scores=np.zeros(0),
)


def _places(
    image_ids: Int64Array, order: Int64Array, wanted: Int64Array
) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
    """Where in a block some image ids are, and which of them are in it at all.

    ``order`` sorts the image ids of the block.
    """
    ranks = np.minimum(np.searchsorted(image_ids[order], wanted), len(order) - 1)
    places = order[ranks]
    is_own = image_ids[places] == wanted
    return places[is_own], is_own
