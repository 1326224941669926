"""Best possible recall of an annotation file: which boxes training could recall, and why not all.

Needs boxes and image sizes only: no images, no weights, no GPU. Blocks of images give integer
counts, which are added, never ratios.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from fcos_core.metrics.bpr import (
    CUSTOM_RULE,
    DEFAULT_RULES,
    BoxBlock,
    Outcomes,
    Rule,
    Shadows,
    custom_rule,
    measure,
    named_rule,
)
from fcos_core.metrics.bpr.groups import groupings
from fcos_core.metrics.bpr.tally import Tally, describe, tally
from jobs.annotations.coco_json import CocoAnnotations, load_annotations
from jobs.annotations.join import RunJoin, join_run
from jobs.annotations.json_columns import UNKNOWN_SIDE, Int64Array
from jobs.annotations.lost_boxes import LostBoxes, encode_lost_boxes
from jobs.annotations.sizes_of_rows import with_sizes_of_rows
from jobs.parallel.map_blocks import map_blocks, num_workers_for
from jobs.rundir.directory import RunDirectory
from jobs.settings.bpr import BprConfig
from jobs.storage import absolute, storage_for

_log = logging.getLogger(__name__)

_BOXES_PER_BLOCK = 50_000
# Boxes times rules. Two processes under Ray took 38 s against 31 s of one at 2.5 million, and 66 s
# against 84 s at 5.9 million (benchmarks/results, bpr).
_WORTH_RAY = 5_000_000


@dataclass(frozen=True)
class BprResult:
    """The results document and where it was written.

    Attributes:
        document: what ``bpr.json`` holds.
        paths: uris of the files written, by what they are.
    """

    document: dict[str, Any]
    paths: dict[str, str]

    @property
    def rules(self) -> dict[str, dict[str, Any]]:
        """The numbers of each rule."""
        return self.document["rules"]

    @property
    def headline(self) -> dict[str, dict[str, Any]]:
        """The numbers of each rule that fit on a line."""
        return {
            name: {key: value for key, value in numbers.items() if key in _HEADLINE}
            for name, numbers in self.rules.items()
        }

    def summary(self) -> dict[str, Any]:
        """What the command's last line on stdout says."""
        counts = {name: self.document[name] for name in ("annotations", "images", "crowds")}
        return {
            **counts,
            "invalid": self.document["invalid"]["count"],
            "rules": self.headline,
            "paths": self.paths,
        }


_HEADLINE = {
    "recalled",
    "total",
    "bpr",
    "positives",
    "ambiguous_ratio",
    "ambiguous_ratio_cross_class",
    "lost",
}


@dataclass(frozen=True)
class _Block:
    """Boxes of some images without crowd regions; ``index`` is that in the annotation file."""

    boxes: BoxBlock
    areas: npt.NDArray[np.float64]
    index: Int64Array


def run(config: BprConfig, *, truth: CocoAnnotations | None = None) -> BprResult:
    """Measure every rule and write the results.

    Args:
        config: what to measure.
        truth: the content of ``config.annotations`` where the caller has it already.

    Returns:
        The results and the paths written.
    """
    rules = chosen_rules(config)
    truth = truth or _read(config)
    images, num_unsized = None, 0
    if config.run is not None:
        directory = RunDirectory(config.run)
        join = _join(directory, truth)
        truth = with_sizes_of_rows(truth, directory, join)
        images, num_unsized = _images_of_run(truth, join)
    order = _countable(truth, images)
    _log.info(
        "%d boxes of %d images (%d crowd regions left out), by the rules %s",
        len(order),
        len(truth.image_ids) if images is None else int(images.sum()),
        len(_countable(truth, images, crowd=True)),
        ", ".join(rule.name for rule in rules),
    )
    class_names = [category.name for category in truth.categories]
    amount = len(order) * len(rules)
    results = list(
        map_blocks(
            partial(_measure_block, rules=rules, class_names=class_names),
            _blocks(truth, order),
            num_workers=num_workers_for(config.num_actors, amount, worth_ray=_WORTH_RAY),
            address=config.address,
        )
    )
    counts = [reduce(add, [tallies[i] for tallies, _ in results]) for i in range(len(rules))]
    lost = [_joined([parts[i] for _, parts in results]) for i in range(len(rules))]
    document = _describe(config, truth, images, dict(zip(rules, counts, strict=True)))
    if num_unsized:
        document["images_without_size"] = num_unsized
    return _write(config, document, lost, truth)


def chosen_rules(config: BprConfig) -> list[Rule]:
    """The rules of the settings, each once, the custom one last."""
    choices: dict[str, Any] = {
        "strides": config.strides,
        "size_ranges": config.size_ranges,
        "center_radius": config.center_radius,
        "min_size_px": config.min_size,
        "max_size_px": config.max_size,
        "boxes": config.boxes,
    }
    custom = {name: value for name, value in choices.items() if value is not None}
    names = dict.fromkeys(name for name in config.rules if name != CUSTOM_RULE or not custom)
    rules = [named_rule(name) for name in names]
    if custom:
        rules.append(custom_rule(**custom))
    return rules or [named_rule(name) for name in DEFAULT_RULES]


def _read(config: BprConfig) -> CocoAnnotations:
    return load_annotations(
        config.annotations,
        skip_invalid=config.skip_invalid,
        names="none" if config.run is None else "images and frames",
        sizes_needed_by="best possible recall without --run" if config.run is None else None,
    )


def _join(directory: RunDirectory, truth: CocoAnnotations) -> RunJoin:
    return join_run(
        directory,
        truth,
        input_annotations=directory.read_run_record().input_annotations,
    )


def _images_of_run(truth: CocoAnnotations, join: RunJoin) -> tuple[npt.NDArray[np.bool_], int]:
    """Which of the annotated images, frames of videos among them, are in the run.

    Those whose size neither the file nor the run knows are left out, and counted.
    """
    joined = np.concatenate([join.images.annotated_ids, join.frames.annotated_ids])
    is_joined = np.isin(truth.image_ids, joined)
    is_sized = (truth.image_sizes != UNKNOWN_SIDE).all(axis=1)
    num_unsized = int((is_joined & ~is_sized).sum())
    if num_unsized:
        _log.warning(
            "%r: %d of the run's images are left out: neither this file nor a row of the run has "
            "their width and height",
            truth.uri,
            num_unsized,
        )
    return is_joined & is_sized, num_unsized


def _countable(
    truth: CocoAnnotations, images: npt.NDArray[np.bool_] | None, *, crowd: bool = False
) -> Int64Array:
    """Index of every box that counts, image by image, in the file's order within each."""
    counts = truth.is_crowd == crowd
    if images is not None:
        counts &= images[truth.image_index]
    chosen = np.flatnonzero(counts)
    return chosen[np.argsort(truth.image_index[chosen], kind="stable")]


def _blocks(truth: CocoAnnotations, order: Int64Array) -> Iterator[_Block]:
    """Cut the boxes between images.

    Yields:
        At least one block, so that a file without boxes gives zeros.
    """
    images = truth.image_index[order]
    first = 0
    while True:
        last = min(first + _BOXES_PER_BLOCK, len(order))
        if last < len(order):  # up to the end of the image
            last = int(np.searchsorted(images, int(images[last - 1]), side="right"))
        index = order[first:last]
        begin, end = (int(images[first]), int(images[last - 1]) + 1) if len(index) else (0, 0)
        boxes = BoxBlock(
            # A file says width and height, FCOS height and width. Unknown ones have no box here.
            image_sizes=np.maximum(truth.image_sizes[begin:end, ::-1], 1),
            image_index=images[first:last] - begin,
            boxes=truth.boxes[index],
            labels=truth.labels[index],
        )
        yield _Block(boxes, truth.areas[index], index)
        first = last
        if first == len(order):
            return


def _measure_block(
    block: _Block, *, rules: Sequence[Rule], class_names: Sequence[str]
) -> tuple[list[Tally], list[LostBoxes]]:
    """Count a block's recalled and lost boxes under every rule, and list the lost ones."""
    groups = groupings(block.boxes, block.areas, class_names)
    outcomes = [measure(block.boxes, rule) for rule in rules]
    return (
        [tally(outcome, groups) for outcome in outcomes],
        [_lost(rule, o, block.index) for rule, o in zip(rules, outcomes, strict=True)],
    )


def _lost(rule: Rule, outcomes: Outcomes, index: Int64Array) -> LostBoxes:
    chosen = np.flatnonzero(~outcomes.is_recalled)
    shadows = outcomes.shadows
    return LostBoxes(
        rule=rule.name,
        index=index[chosen],
        causes=outcomes.causes[chosen].astype(np.int64),
        num_candidates=outcomes.num_candidates[chosen].sum(axis=1),
        shadows=Shadows(
            np.searchsorted(chosen, shadows.lost), index[shadows.takers], shadows.num_taken
        ),
    )


def _joined(parts: Sequence[LostBoxes]) -> LostBoxes:
    starts = np.cumsum([0, *(len(part.index) for part in parts[:-1])])
    return LostBoxes(
        rule=parts[0].rule,
        index=np.concatenate([part.index for part in parts]),
        causes=np.concatenate([part.causes for part in parts]),
        num_candidates=np.concatenate([part.num_candidates for part in parts]),
        shadows=Shadows(
            np.concatenate(
                [p.shadows.lost + start for p, start in zip(parts, starts, strict=True)]
            ),
            np.concatenate([part.shadows.takers for part in parts]),
            np.concatenate([part.shadows.num_taken for part in parts]),
        ),
    )


def _describe(
    config: BprConfig,
    truth: CocoAnnotations,
    images: npt.NDArray[np.bool_] | None,
    counts: dict[Rule, Tally],
) -> dict[str, Any]:
    about = {} if config.run is None else {"run": RunDirectory(config.run).uri}
    return {
        **about,
        "annotations": truth.uri,
        "annotations_sha256": truth.sha256,
        "images": len(truth.image_ids) if images is None else int(images.sum()),
        "crowds": len(_countable(truth, images, crowd=True)),
        "areas_filled": truth.num_areas_filled,
        "invalid": {
            "count": truth.num_invalid,
            "entries": [entry.reason for entry in truth.invalid],
        },
        "rules": {rule.name: describe(rule, tallied) for rule, tallied in counts.items()},
    }


def _write(
    config: BprConfig, document: dict[str, Any], lost: Sequence[LostBoxes], truth: CocoAnnotations
) -> BprResult:
    paths: dict[str, str] = {}
    if config.out is not None:
        paths["bpr"] = absolute(config.out)
        paths["lost_boxes"] = f"{paths['bpr'].removesuffix('.json')}.lost_boxes.parquet"
    elif config.run is not None:
        directory = RunDirectory(config.run)
        paths["bpr"] = directory.bpr_uri("bpr.json")
        paths["lost_boxes"] = directory.bpr_uri("lost_boxes.parquet")
    if paths:
        storage = storage_for(paths["bpr"])
        storage.write(paths["lost_boxes"], encode_lost_boxes(lost, truth))
        storage.write(paths["bpr"], (json.dumps(document, indent=2) + "\n").encode())
    return BprResult(document, paths)
