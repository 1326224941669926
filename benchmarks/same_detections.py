"""Whether two programs found the same objects: compared as a matching, since ties have no order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MAX_BOX_PX = 0.01
MAX_SCORE = 1e-4
_PAIR_PX = 1.0  # farther apart, two boxes are two objects


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The detections of one photo.

    Attributes:
        boxes: xyxy in pixels of the photo.
        scores: 0 to 1.
        labels: category ids.
    """

    boxes: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How one program's detections differ from another's.

    Attributes:
        num_reference: detections of the reference.
        num_other: detections of the other.
        num_alone: detections of either that have no counterpart.
        max_box_px: the largest difference of a coordinate, of pairs.
        max_score: the largest difference of a score, of pairs.
    """

    num_reference: int
    num_other: int
    num_alone: int
    max_box_px: float
    max_score: float

    @property
    def is_none(self) -> bool:
        """Whether both found the same, as exactly as this project promises it."""
        return not self.num_alone and self.max_box_px <= MAX_BOX_PX and self.max_score <= MAX_SCORE


def compare(reference: Mapping[str, Found], other: Mapping[str, Found]) -> Difference:
    """Pair detections of equal photo and label, the nearest boxes first.

    Args:
        reference: detections by photo; a photo that is absent has none.
        other: the same, of the other program.
    """
    num_pairs = 0
    box_px: list[float] = [0.0]
    score: list[float] = [0.0]
    for photo in sorted(reference.keys() & other.keys()):
        ours, theirs = reference[photo], other[photo]
        for i, j in _pairs(ours, theirs):
            num_pairs += 1
            box_px.append(float(np.abs(ours.boxes[i] - theirs.boxes[j]).max()))
            score.append(float(abs(ours.scores[i] - theirs.scores[j])))
    num_reference = sum(len(found.scores) for found in reference.values())
    num_other = sum(len(found.scores) for found in other.values())
    return Difference(
        num_reference=num_reference,
        num_other=num_other,
        num_alone=num_reference + num_other - 2 * num_pairs,
        max_box_px=max(box_px),
        max_score=max(score),
    )


def _pairs(first: Found, second: Found) -> list[tuple[int, int]]:
    """Give indices of pairs; no detection is in two."""
    gaps = np.abs(first.boxes[:, None] - second.boxes[None]).max(axis=-1, initial=0.0)
    gaps[first.labels[:, None] != second.labels[None]] = np.inf
    candidates = np.argwhere(gaps <= _PAIR_PX)
    order = np.argsort(gaps[candidates[:, 0], candidates[:, 1]], kind="stable")
    taken_first: set[int] = set()
    taken_second: set[int] = set()
    pairs: list[tuple[int, int]] = []
    for i, j in candidates[order].tolist():
        if i not in taken_first and j not in taken_second:
            taken_first.add(i)
            taken_second.add(j)
            pairs.append((i, j))
    return pairs
