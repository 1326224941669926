"""The scores of one subject: measured in blocks, joined, and described as a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fcos_core.metrics.bootstrap import intervals, ranking, resampling
from fcos_core.metrics.bpr import Rule
from fcos_core.metrics.coco import (
    MAX_DETECTIONS,
    CategoryMatches,
    CocoMetrics,
    PackedMatches,
    Settings,
    metrics_of,
    unpacked,
)
from jobs.annotations.coco_json import CocoAnnotations
from jobs.rundir.metrics_json import Bootstrap, CategoryMetrics, Metrics
from jobs.scoring.explaining import Explanation, explain
from jobs.scoring.measuring import BlockScores, measure_block
from jobs.scoring.subjects import Subject

RESAMPLES_SEED = 0
_RANGES = 20  # of resamples, each computed in one go

MapBlocks = Callable[..., Iterator[Any]]
"""Maps a function over blocks, in this process or elsewhere, and gives the results in order."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Resamples:
    """The twelve numbers and each category's AP, of the dataset and of its resamples."""

    observed: Floats
    resampled: Floats


@dataclass(frozen=True)
class Scores:
    """All scores of one subject; ``names`` is by rising category id, ``parts`` has at least one."""

    subject: Subject
    names: dict[int, str]
    parts: Sequence[BlockScores]
    settings: Settings

    @property
    def category_ids(self) -> list[int]:
        return list(self.names)

    @property
    def num_images(self) -> int:
        """Number of images of the dataset, with or without boxes."""
        return len(self.subject.image_ids)

    @cached_property
    def matches(self) -> list[PackedMatches]:
        return [part.matches for part in self.parts]

    def by_category(self) -> Iterator[CategoryMatches]:
        """Unpack the matches, one category at a time."""
        return unpacked(self.matches)

    @cached_property
    def metrics(self) -> CocoMetrics:
        return metrics_of(self.by_category(), self.category_ids, self.settings)

    @cached_property
    def explanation(self) -> Explanation:
        explanations = [part.explanation for part in self.parts]
        return explain(explanations, self.matches, self.metrics, self.names, self.settings)

    @cached_property
    def to_find(self) -> ranking.BoxesToFind:
        return ranking.joined([part.to_find for part in self.parts])

    def resample(self, num_resamples: int, map_blocks: MapBlocks) -> Resamples:
        """Score resamples of the images; the same ones for every subject with as many images."""
        rankings = ranking.rank(self.by_category(), self.to_find, self.num_images, self.settings)
        cuts = np.linspace(0, num_resamples, min(num_resamples, _RANGES) + 1).astype(int).tolist()
        ranges = map_blocks(partial(_resample, rankings), list(pairwise(cuts)))
        return Resamples(
            observed=resampling.weighted_numbers(rankings, np.ones(self.num_images, np.int64)),
            resampled=np.concatenate(list(ranges)),
        )

    def describe(self, truth: CocoAnnotations, resamples: Resamples | None) -> Metrics:
        """Describe and explain the numbers as ``metrics.json`` does; resamples give intervals."""
        rule = self.subject.rule
        num_objects = sum((part.num_objects for part in self.parts), Counter[int]())
        num_detections = sum((part.num_detections for part in self.parts), Counter[int]())
        intervals = {} if resamples is None else _describe(resamples, self.category_ids)
        return Metrics(
            **self.metrics.overall,
            **self.subject.about,
            annotations=truth.uri,
            annotations_sha256=truth.sha256,
            areas_filled=truth.num_areas_filled,
            order=self.subject.order,
            max_detections=list(MAX_DETECTIONS),
            counts=self._counts(),
            **intervals,
            **({} if rule is None else _about_assignable(rule)),
            **self.explanation.summary,
            per_area=self.explanation.per_area,
            per_category=[
                CategoryMetrics(
                    category_id=category_id,
                    name=self.names[category_id],
                    num_objects=num_objects[category_id],
                    num_detections=num_detections[category_id],
                    **self.explanation.per_category[category_id],
                    **numbers,
                )
                for category_id, numbers in self.metrics.per_category.items()
            ],
        )

    def _counts(self) -> dict[str, int]:
        counts = {self.subject.noun: self.num_images, **self.subject.counts}
        if "size_mismatches" in counts:
            counts["size_mismatches"] = sum(part.num_size_mismatches for part in self.parts)
        found = sum((part.num_detections for part in self.parts), Counter[int]())
        return counts | {
            "objects": sum(part.num_objects.total() for part in self.parts),
            "crowds": sum(part.num_crowds for part in self.parts),
            "detections": found.total(),
            "detections_of_other_categories": sum(
                count for category_id, count in found.items() if category_id not in self.names
            ),
        }


def score(subject: Subject, truth: CocoAnnotations, map_blocks: MapBlocks) -> Scores:
    """Measure all blocks of a subject."""
    names = {c.id: c.name for c in sorted(truth.categories, key=lambda category: category.id)}
    settings = Settings()
    measure = partial(
        measure_block,
        category_ids=np.array(list(names), np.int64),
        image_ids=subject.image_ids,
        rule=subject.rule,
        settings=settings,
    )
    return Scores(subject, names, list(map_blocks(measure, subject.blocks)), settings)


def _about_assignable(rule: Rule) -> dict[str, Any]:
    return {
        "assignable_by": rule.name,
        "assignable_at_px": (rule.frame.min_size_px, rule.frame.max_size_px),
    }


def _resample(rankings: ranking.Rankings, part: tuple[int, int]) -> Floats:
    return resampling.resample(rankings, RESAMPLES_SEED, *part)


def _describe(resamples: Resamples, category_ids: Sequence[int]) -> dict[str, Any]:
    found = intervals.describe(resamples.observed, resamples.resampled, category_ids)
    return {
        "intervals": {name: (own["low"], own["high"]) for name, own in found["overall"].items()},
        "intervals_per_category": {
            category_id: (own["low"], own["high"])
            for category_id, own in found["per_category"].items()
        },
        "bootstrap": Bootstrap(
            resamples=found["resamples"],
            seed=RESAMPLES_SEED,
            level=found["confidence"],
            bias={name: own["bias"] for name, own in found["overall"].items()},
        ),
    }
