"""Counts of recalled and lost boxes that can be added up: integers only, never ratios.

Letters: ``V`` pyramid levels, ``N`` groups of a grouping.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from fcos_core.metrics.bpr.groups import Grouping
from fcos_core.metrics.bpr.rules import AnchorRule, LocationRule, Rule
from fcos_core.metrics.bpr.structures import Cause, Outcomes


@dataclass(frozen=True)
class GroupCount:
    """Boxes of each group of one grouping."""

    names: tuple[str, ...]
    recalled: Int64[np.ndarray, " N"]
    total: Int64[np.ndarray, " N"]


@dataclass(frozen=True)
class Tally:
    """Counts of any number of boxes under a rule.

    Args:
        causes: boxes by ``Cause``, the recalled ones first.
        boxes_with_candidates: boxes with a candidate on each level; a box may have several levels.
        boxes_recalled: boxes that keep a sample on each level.
        positives: samples on each level that learn a box.
        ambiguous: those with more than one candidate box.
        cross_class: those whose candidates differ in class.
        groups: by name of the grouping.
    """

    causes: Int64[np.ndarray, " 6"]
    boxes_with_candidates: Int64[np.ndarray, " V"]
    boxes_recalled: Int64[np.ndarray, " V"]
    positives: Int64[np.ndarray, " V"]
    ambiguous: Int64[np.ndarray, " V"]
    cross_class: Int64[np.ndarray, " V"]
    groups: dict[str, GroupCount]

    @property
    def total(self) -> int:
        return int(self.causes.sum())

    @property
    def recalled(self) -> int:
        """Boxes that at least one sample learns."""
        return int(self.causes[Cause.RECALLED])

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.causes + other.causes,
            self.boxes_with_candidates + other.boxes_with_candidates,
            self.boxes_recalled + other.boxes_recalled,
            self.positives + other.positives,
            self.ambiguous + other.ambiguous,
            self.cross_class + other.cross_class,
            {
                name: GroupCount(
                    own.names,
                    own.recalled + other.groups[name].recalled,
                    own.total + other.groups[name].total,
                )
                for name, own in self.groups.items()
            },
        )


def tally(outcomes: Outcomes, groupings: Sequence[Grouping]) -> Tally:
    """Count the outcomes of the boxes of a block; the groupings are of the same boxes."""
    return Tally(
        causes=np.bincount(outcomes.causes, minlength=len(Cause)),
        boxes_with_candidates=(outcomes.num_candidates > 0).sum(axis=0),
        boxes_recalled=(outcomes.num_kept > 0).sum(axis=0),
        positives=outcomes.num_kept.sum(axis=0),
        ambiguous=outcomes.num_ambiguous,
        cross_class=outcomes.num_cross_class,
        groups={
            g.name: GroupCount(
                g.names,
                np.bincount(g.group[outcomes.is_recalled], minlength=len(g.names)),
                np.bincount(g.group, minlength=len(g.names)),
            )
            for g in groupings
        },
    )


def describe(rule: Rule, counts: Tally) -> dict[str, Any]:
    """Describe the counts of the whole dataset, and the ratios that follow from them, for JSON."""
    is_anchors = isinstance(rule, AnchorRule)
    positives = int(counts.positives.sum())
    causes = [
        c for c in Cause if c is not Cause.RECALLED and (is_anchors or c is not Cause.LOW_IOU)
    ]

    def share_of_positives(part: Int64[np.ndarray, " V"]) -> float | None:
        return None if is_anchors else _ratio(int(part.sum()), positives)

    return {
        "recalled": counts.recalled,
        "total": counts.total,
        "bpr": _ratio(counts.recalled, counts.total),
        "positives": positives,
        "ambiguous": None if is_anchors else int(counts.ambiguous.sum()),
        "ambiguous_cross_class": None if is_anchors else int(counts.cross_class.sum()),
        "ambiguous_ratio": share_of_positives(counts.ambiguous),
        "ambiguous_ratio_cross_class": share_of_positives(counts.cross_class),
        "lost": {cause.name.lower(): int(counts.causes[cause]) for cause in causes},
        "by_level": [_describe_level(rule, counts, level) for level in range(len(rule.strides_px))],
        **{f"by_{name}": _describe_groups(group) for name, group in counts.groups.items()},
        "rule": rule.describe(),
    }


def _describe_level(rule: Rule, counts: Tally, level: int) -> dict[str, Any]:
    stride = rule.strides_px[level]
    words = {
        "level": level_name(stride),
        "stride": stride,
        "boxes_with_candidates": int(counts.boxes_with_candidates[level]),
        "recalled": int(counts.boxes_recalled[level]),
        "positives": int(counts.positives[level]),
    }
    if isinstance(rule, LocationRule):
        words |= {
            "ambiguous": int(counts.ambiguous[level]),
            "ambiguous_cross_class": int(counts.cross_class[level]),
        }
    return words


def level_name(stride: int) -> str:
    """``P3`` for stride 8 and so on; strides that are no power of two have no such name."""
    power = stride.bit_length() - 1
    return f"P{power}" if stride == 1 << power else f"stride {stride}"


def _describe_groups(group: GroupCount) -> list[dict[str, Any]]:
    return [
        {"name": name, "recalled": recalled, "total": total, "bpr": _ratio(recalled, total)}
        for name, recalled, total in zip(
            group.names, group.recalled.tolist(), group.total.tolist(), strict=True
        )
    ]


def _ratio(part: int, whole: int) -> float:
    """A share in 0..1; -1 where the whole is 0."""
    return part / whole if whole else -1.0
