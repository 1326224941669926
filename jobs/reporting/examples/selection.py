"""Selects the example images of a report in one pass over the rows, in bounded memory."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.reporting.examples.ground_truth import FALSE_POSITIVE, MatchedImage
from jobs.rundir.rows import Row

PER_SET = 6
"""Images of an example set."""

_SIMILAR_FRAMES = 32  # about a second

_Key = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """An image or frame to show, matched with its ground truth if there are annotations.

    ``detection`` or ``box`` is the index of the detection or ground-truth box to focus on.
    """

    row: Row
    matched: MatchedImage | None = None
    detection: int | None = None
    box: int | None = None


@dataclass(frozen=True, kw_only=True)
class ExampleSet:
    """Examples selected by one criterion, the best first; ``empty`` is the text without any."""

    title: str
    lead: str
    empty: str
    examples: Sequence[Example]


class _TopK:
    """Keeps the examples with the largest keys; of equal keys, those with the smaller item ids.

    Of successive frames, which look alike, one is kept.
    """

    def __init__(self, limit: int = PER_SET) -> None:
        self._limit = limit
        self._heap: list[tuple[_Key, tuple[int, int], Example]] = []

    def add(self, key: _Key, row: Row, make: Callable[[], Example]) -> None:
        """Keep an example if its key is among the largest; only then it is made."""
        place = (key, (-row.item_id, -(_frame(row) // _SIMILAR_FRAMES)))
        similar = next((i for i, one in enumerate(self._heap) if one[1] == place[1]), None)
        if similar is not None:
            kept = self._heap[similar][2].row
            if (key, -_frame(row)) > (self._heap[similar][0], -_frame(kept)):
                self._heap[similar] = (*place, make())
                heapq.heapify(self._heap)
        elif len(self._heap) < self._limit:
            heapq.heappush(self._heap, (*place, make()))
        elif place > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*place, make()))

    def examples(self) -> list[Example]:
        """The kept examples, the largest key first."""
        ranked = sorted(self._heap, key=lambda one: one[:2], reverse=True)
        return [example for *_, example in ranked]


def _frame(row: Row) -> int:
    return row.frame_index or 0


class AnnotatedSelection:
    """Selects examples of a run with ground truth: best, worst, false positives, missed objects.

    ``score`` is the least score of a detection that counts.
    """

    def __init__(self, score: float, noun: str = "images") -> None:
        self._score, self._noun = score, noun
        self._best, self._worst, self._false_positives, self._missed = (_TopK() for _ in range(4))

    def add(self, matched: MatchedImage) -> None:
        row, score = matched.row, self._score
        num_true, num_false, num_missed = matched.counts_at(score)
        f1 = matched.f1_at(score)
        if len(matched.boxes):
            self._best.add((f1, num_true), row, lambda: Example(row=row, matched=matched))
        if num_false or num_missed:
            key = (-f1, num_false + num_missed)
            self._worst.add(key, row, lambda: Example(row=row, matched=matched))
        false_positives = np.flatnonzero(matched.outcomes == FALSE_POSITIVE)
        if len(false_positives):
            first = int(false_positives[np.argmax(row.scores[false_positives])])
            self._false_positives.add(
                (float(row.scores[first]),),
                row,
                lambda: Example(row=row, matched=matched, detection=first),
            )
        missed = np.flatnonzero(matched.matched_scores < score)
        if len(missed):
            largest = int(missed[np.argmax(matched.areas[missed])])
            self._missed.add(
                (float(matched.areas[largest]),),
                row,
                lambda: Example(row=row, matched=matched, box=largest),
            )

    def example_sets(self) -> list[ExampleSet]:
        at = f"at scores from {self._score:.2f} on"
        return [
            ExampleSet(
                title=f"Best {self._noun}",
                lead=f"Highest F1 {at}; of equal ones, those with most objects found.",
                empty=f"None of the {self._noun} has an annotated object.",
                examples=self._best.examples(),
            ),
            ExampleSet(
                title=f"Worst {self._noun}",
                lead=f"Lowest F1 {at}; of equal ones, those with most false positives and missed "
                "objects.",
                empty=f"None of the {self._noun} has a false positive or a missed object.",
                examples=self._worst.examples(),
            ),
            ExampleSet(
                title="Most confident false positives",
                lead="The detection of highest score that matches no annotated object, one per "
                "image. Some show real objects without an annotation. Only boxes near the "
                "detection are drawn.",
                empty="Every detection matches an annotated object.",
                examples=self._false_positives.examples(),
            ),
            ExampleSet(
                title="Missed objects",
                lead=f"The largest annotated object that no detection matches {at}, one per "
                "image. Only boxes near the object are drawn.",
                empty="No annotated object is missed.",
                examples=self._missed.examples(),
            ),
        ]


class UnannotatedSelection:
    """Selects examples of a run without ground truth: a sample, and the most detections.

    ``score`` is the least score of a detection that counts.
    """

    def __init__(self, score: float, noun: str = "images") -> None:
        self._score, self._noun = score, noun
        self._sample, self._fullest = _TopK(), _TopK()

    def add(self, row: Row) -> None:
        frame = "" if row.frame_index is None else f"#{row.frame_index}"
        digest = hashlib.sha256(f"{row.uri}{frame}".encode(errors="surrogatepass")).digest()
        number = int.from_bytes(digest[:6], "big")
        self._sample.add((number,), row, lambda: Example(row=row))
        num_detections = int((row.scores >= self._score).sum())
        if num_detections:
            self._fullest.add((num_detections,), row, lambda: Example(row=row))

    def example_sets(self) -> list[ExampleSet]:
        at = f"at scores from {self._score:.2f} on"
        return [
            ExampleSet(
                title=f"Sample of {self._noun}",
                lead="Selected by a hash of the file names: as good as random, and the same every "
                "time.",
                empty=f"None of the {self._noun} could be used.",
                examples=self._sample.examples(),
            ),
            ExampleSet(
                title=f"{self._noun.capitalize()} with most detections",
                lead=f"Most detections {at}.",
                empty=f"None of the {self._noun} has a detection {at}.",
                examples=self._fullest.examples(),
            ),
        ]
