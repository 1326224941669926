"""Which images are shown: the few that stand out in some way, whatever a run's size."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jobs.reporting.examples.truth import WRONG, JudgedImage
from jobs.rundir.rows import Row

PER_PANEL = 6
"""Images of one kind."""

_ALIKE = 32  # frames: about a second

_Key = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """An image to show.

    Attributes:
        row: of the run.
        judged: with ground truth; None where there is none.
        detection: index of the detection it is shown for, if it is for one.
        box: index of the ground-truth box it is shown for, if it is for one.
    """

    row: Row
    judged: JudgedImage | None = None
    detection: int | None = None
    box: int | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A row of images.

    Attributes:
        title: what they have in common.
        lead: by what they were chosen.
        empty: what it means that there are none.
        choices: the images, the most telling first.
    """

    title: str
    lead: str
    empty: str
    choices: Sequence[Choice]


class _Largest:
    """Keeps the few choices of largest key; of equal keys the smaller item ids.

    Of frames that follow one another, and so are much alike, one is kept.
    """

    def __init__(self, limit: int = PER_PANEL) -> None:
        self._limit = limit
        self._heap: list[tuple[_Key, tuple[int, int], Choice]] = []

    def offer(self, key: _Key, row: Row, make: Callable[[], Choice]) -> None:
        """Keep a choice if it is among the largest; it is made only then."""
        place = (key, (-row.item_id, -(_frame(row) // _ALIKE)))
        rival = next((i for i, one in enumerate(self._heap) if one[1] == place[1]), None)
        if rival is not None:
            earlier = self._heap[rival][2].row
            if (key, -_frame(row)) > (self._heap[rival][0], -_frame(earlier)):
                self._heap[rival] = (*place, make())
                heapq.heapify(self._heap)
        elif len(self._heap) < self._limit:
            heapq.heappush(self._heap, (*place, make()))
        elif place > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*place, make()))

    def choices(self) -> list[Choice]:
        """What was kept, the largest first."""
        return [choice for *_, choice in sorted(self._heap, key=lambda one: one[:2], reverse=True)]


def _frame(row: Row) -> int:
    return row.frame_index or 0


class JudgedChoices:
    """Panels of a run with ground truth.

    Args:
        score: from which on detections count.
        noun: what is offered: ``images``, or ``frames`` of videos.
    """

    def __init__(self, score: float, noun: str = "images") -> None:
        self._score, self._noun = score, noun
        self._best, self._worst, self._wrong, self._missed = (_Largest() for _ in range(4))

    def offer(self, judged: JudgedImage) -> None:
        """Look at one image."""
        row, score = judged.row, self._score
        num_found, num_wrong, num_missed = judged.counts_at(score)
        f1 = judged.f1_at(score)
        if len(judged.boxes):
            self._best.offer((f1, num_found), row, lambda: Choice(row=row, judged=judged))
        if num_wrong or num_missed:
            key = (-f1, num_wrong + num_missed)
            self._worst.offer(key, row, lambda: Choice(row=row, judged=judged))
        wrong = np.flatnonzero(judged.verdicts == WRONG)
        if len(wrong):
            first = int(wrong[np.argmax(row.scores[wrong])])
            self._wrong.offer(
                (float(row.scores[first]),),
                row,
                lambda: Choice(row=row, judged=judged, detection=first),
            )
        missed = np.flatnonzero(judged.found_at < score)
        if len(missed):
            largest = int(missed[np.argmax(judged.areas[missed])])
            self._missed.offer(
                (float(judged.areas[largest]),),
                row,
                lambda: Choice(row=row, judged=judged, box=largest),
            )

    def panels(self) -> list[Panel]:
        """What stands out among all that were offered."""
        at = f"at scores from {self._score:.2f} on"
        return [
            Panel(
                title=f"Best {self._noun}",
                lead=f"Highest F1 {at}; of equal ones those with most objects.",
                empty=f"None of the {self._noun} has an annotated object.",
                choices=self._best.choices(),
            ),
            Panel(
                title=f"Worst {self._noun}",
                lead=f"Lowest F1 {at}; of equal ones those with most mistakes.",
                empty=f"None of the {self._noun} has a mistake.",
                choices=self._worst.choices(),
            ),
            Panel(
                title="Most confident false positives",
                lead="The detection of highest score that finds no annotated object, one per "
                "image. Some are objects that nobody annotated. Only boxes beside it are drawn.",
                empty="Every detection finds an annotated object.",
                choices=self._wrong.choices(),
            ),
            Panel(
                title="Missed objects",
                lead=f"The largest annotated object that no detection finds {at}, one per "
                "image. Only boxes beside it are drawn.",
                empty="No annotated object is missed.",
                choices=self._missed.choices(),
            ),
        ]


class PlainChoices:
    """Panels of a run without ground truth.

    Args:
        score: from which on detections are counted and drawn.
        noun: what is offered: ``images``, or ``frames`` of videos.
    """

    def __init__(self, score: float, noun: str = "images") -> None:
        self._score, self._noun = score, noun
        self._sample, self._fullest = _Largest(), _Largest()

    def offer(self, row: Row) -> None:
        """Look at one image."""
        frame = "" if row.frame_index is None else f"#{row.frame_index}"
        digest = hashlib.sha256(f"{row.uri}{frame}".encode(errors="surrogatepass")).digest()
        number = int.from_bytes(digest[:6], "big")
        self._sample.offer((number,), row, lambda: Choice(row=row))
        num_found = int((row.scores >= self._score).sum())
        if num_found:
            self._fullest.offer((num_found,), row, lambda: Choice(row=row))

    def panels(self) -> list[Panel]:
        """A sample, and what stands out among all that were offered."""
        return [
            Panel(
                title=f"A sample of {self._noun}",
                lead="Chosen by a hash of their names: as good as by chance, and the same again.",
                empty=f"None of the {self._noun} could be looked at.",
                choices=self._sample.choices(),
            ),
            Panel(
                title=f"Most objects, {self._noun}",
                lead=f"Those with most detections at scores from {self._score:.2f} on.",
                empty=f"None of the {self._noun} has a detection of that score.",
                choices=self._fullest.choices(),
            ),
        ]
