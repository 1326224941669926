"""Small images for the tests, and COCO's matching and AP in plain loops to compare with."""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fcos_core.metrics.coco import (
    DetectedBoxes,
    Matches,
    PackedMatches,
    Settings,
    TrueBoxes,
    match,
    pack,
)

SETTINGS = Settings()
Box = tuple[float, float, float, float]


class Thing(NamedTuple):
    image: int
    category: int
    box: Box
    is_crowd: bool = False


class Found(NamedTuple):
    image: int
    category: int
    box: Box
    score: float


@dataclass(frozen=True)
class Scene:
    """Things and detections of some images, as lists for loops and as arrays."""

    things: list[Thing]
    found: list[Found]
    categories: tuple[int, ...] = (1, 4, 7)

    @property
    def ids(self):
        return np.array(self.categories, np.int64)

    @property
    def images(self):
        return np.unique([row.image for row in (*self.things, *self.found)]).astype(np.int64)

    @property
    def truth(self) -> TrueBoxes:
        boxes = np.array([t.box for t in self.things], np.float64).reshape(-1, 4)
        return TrueBoxes(
            image_ids=np.array([t.image for t in self.things], np.int64),
            category_ids=np.array([t.category for t in self.things], np.int64),
            boxes=boxes,
            areas=boxes[:, 2] * boxes[:, 3],
            is_crowd=np.array([t.is_crowd for t in self.things], np.bool_),
        )

    @property
    def detections(self) -> DetectedBoxes:
        return DetectedBoxes(
            image_ids=np.array([f.image for f in self.found], np.int64),
            category_ids=np.array([f.category for f in self.found], np.int64),
            boxes=np.array([f.box for f in self.found], np.float64).reshape(-1, 4),
            scores=np.array([f.score for f in self.found], np.float64),
        )

    def matches(self, images=None) -> Matches:
        return match(self.truth, self.detections, self.ids, SETTINGS, image_ids=images)

    def packed(self, images=None) -> PackedMatches:
        return pack(self.matches(images))

    def blocks(self, num_blocks: int) -> "list[Scene]":
        """Every n-th image, so that blocks are no neighbours, the last images first."""
        chosen = [set(self.images[n::num_blocks].tolist()) for n in range(num_blocks)]
        return [
            Scene(
                [t for t in self.things if t.image in images],
                [f for f in self.found if f.image in images],
                self.categories,
            )
            for images in reversed(chosen)
        ]


def random_scene(seed: int, num_images: int = 6) -> Scene:
    """Coarse places, sizes and scores, so that ties, exact overlaps and every error are common."""
    rng = np.random.default_rng(seed)
    categories = (1, 4, 7)

    def box() -> Box:
        x, y = (rng.integers(0, 4, 2) * 10.0).tolist()
        width, height = (rng.integers(1, 4, 2) * 10.0).tolist()
        return x, y, width, height

    things: list[Thing] = []
    found: list[Found] = []
    for image in range(1, num_images + 1):
        for _ in range(rng.integers(0, 5)):
            category = int(rng.choice([*categories, 9]))  # 9 is not scored
            things.append(Thing(image, category, box(), bool(rng.random() < 0.15)))
        near = [t.box for t in things if t.image == image] or [box()]
        for _ in range(rng.integers(0, 9)):
            x, y, width, height = near[rng.integers(len(near))] if rng.random() < 0.7 else box()
            moved = (x + float(rng.integers(0, 3)) * 2.5, y, width, height)
            category = int(rng.choice([*categories, 9]))
            found.append(Found(image, category, moved, float(rng.integers(0, 5)) / 4))
    return Scene(
        [things[i] for i in rng.permutation(len(things))],
        [found[i] for i in rng.permutation(len(found))],
    )


def iou(found: Box, thing: Thing) -> float:
    """Of a crowd, the share of the detection in it."""
    x, y, width, height = found
    left, top, true_width, true_height = thing.box
    shared_width = min(x + width, left + true_width) - max(x, left)
    shared_height = min(y + height, top + true_height) - max(y, top)
    if shared_width <= 0 or shared_height <= 0:
        return 0.0
    shared = shared_width * shared_height
    area = width * height
    return shared / (area if thing.is_crowd else area + true_width * true_height - shared)


def ranked(scene: Scene, category: int | None = None) -> list[int]:
    """Detections of a category, or of all that are scored, by falling score; else as given."""
    chosen = [
        n
        for n, f in enumerate(scene.found)
        if f.category in scene.categories and category in (None, f.category)
    ]
    return sorted(chosen, key=lambda n: -scene.found[n].score)


def loop_matches(scene: Scene) -> dict[int, int | None]:
    """Of each scored detection: the thing it finds, -1 if it counts for nothing, or None.

    COCO's greedy matching at IoU 0.5, of equal IoUs the last; crowds take what nothing else does.
    """
    outcome: dict[int, int | None] = {}
    taken: set[int] = set()
    for n in ranked(scene):
        of = scene.found[n]
        best: int | None = None
        is_ignored = False
        for g, thing in enumerate(scene.things):
            if (thing.image, thing.category) != (of.image, of.category):
                continue
            overlap = iou(of.box, thing)
            if overlap < 0.5:
                continue
            is_ignored |= thing.is_crowd
            is_open = not thing.is_crowd and g not in taken
            if is_open and (best is None or overlap >= iou(of.box, scene.things[best])):
                best = g
        if best is not None:
            taken.add(best)
        outcome[n] = -1 if best is None and is_ignored else best
    return outcome


def loop_precision(is_true: list[bool], num_boxes: int) -> list[float]:
    """Precision at COCO's 101 recalls, of detections by falling score."""
    precision, recall = [], []
    for last in range(1, len(is_true) + 1):
        precision.append(sum(is_true[:last]) / last)
        recall.append(sum(is_true[:last]) / num_boxes if num_boxes else 0.0)
    assert all(one <= two for one, two in pairwise(recall))
    return [
        max((p for p, r in zip(precision, recall, strict=True) if r >= at), default=0.0)
        if any(is_true)
        else 0.0
        for at in SETTINGS.recall_thresholds
    ]
