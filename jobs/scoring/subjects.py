"""What is scored: a run, or a results file, joined to its ground truth and cut into blocks.

A run's images and the frames of its videos are two subjects: frames of one video are much alike,
and numbers over both would say little about either.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from fcos_core.errors import IncompleteRunError
from fcos_core.metrics.bpr import DEFAULT_RULES, Rule, named_rule, rule_of_preset
from fcos_core.metrics.coco import CANONICAL_ORDER
from jobs.annotations.coco_json import CocoAnnotations, load_results
from jobs.annotations.join import RunJoin, join_run, require_same_categories
from jobs.annotations.json_columns import UNKNOWN_SIDE, Int64Array
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import Proof, prove
from jobs.scoring.blocks import ScoringBlock, blocks_of_results, blocks_of_run

_log = logging.getLogger(__name__)

_FILE_ORDER = "the results file's own"


@dataclass(frozen=True)
class Subject:
    """Images to score, with their detections.

    Attributes:
        blocks: the images in blocks, to be iterated once.
        image_ids: ids of all images, rising.
        order: the order that decides between equal scores, in words.
        rule: the rule that says which boxes are assignable in training; None where the sizes of
            images, which it needs, are not known.
        counts: numbers of images and frames, also of those that are not scored, by name.
        about: where the detections are from.
        noun: what the images are.
    """

    blocks: Iterable[ScoringBlock]
    image_ids: Int64Array
    order: str
    rule: Rule | None
    counts: dict[str, int]
    about: dict[str, Any] = field(default_factory=dict[str, Any])
    noun: Literal["images", "frames"] = "images"


@dataclass(frozen=True)
class RunSubjects:
    """A run's images, maybe none, and the frames of its videos.

    ``frames`` is None without videos, or if the annotations are about images only.
    """

    images: Subject
    frames: Subject | None


def log_filled_in(truth: CocoAnnotations) -> None:
    """Log what the annotation file does not say, or says oddly."""
    if (truth.ids == 0).any():
        # pycocotools keeps the id of the box a detection found, and takes 0 for none.
        _log.info("%r: has an annotation of id 0; ids are counted from 1 anew", truth.uri)
    if truth.num_areas_filled:
        _log.info(
            "%r: %d annotations have no area; it is taken from their boxes",
            truth.uri,
            truth.num_areas_filled,
        )


def subjects_of_run(
    directory: RunDirectory,
    truth: CocoAnnotations,
    *,
    allow_incomplete: bool,
    proof: Proof | None = None,
) -> RunSubjects:
    """Join a run to its ground truth, which must have file names.

    ``allow_incomplete`` takes a run with missing rows, but none with duplicated ones. Without a
    ``proof`` the run is proved here.
    """
    record = directory.read_run_record()
    require_same_categories({c.id: c.name for c in record.categories}, truth)
    join = join_run(directory, truth, input_annotations=record.input_annotations)
    proof = proof or prove(directory)
    if not proof.complete:
        _require_allowed(directory, proof, allow_incomplete=allow_incomplete)
    left = {
        "images_not_annotated": join.num_images_left,
        "frames_not_annotated": join.num_frames_left,
    }
    is_about_images = not join.num_images_left
    images = Subject(
        blocks=blocks_of_run(directory, join.images, join.image_shards, truth),
        image_ids=np.sort(join.images.annotated_ids),
        order=CANONICAL_ORDER,
        rule=rule_of_preset(record.preset, **record.input_size),
        counts={
            "quarantined": is_about_images * (proof.quarantined - proof.frames.quarantined),
            "missing": is_about_images * (proof.missing - proof.frames.missing),
            "not_in_run": join.images.num_not_in_run,
            "size_mismatches": 0,  # counted with the blocks
            **{name: count for name, count in left.items() if count},
        },
        about={
            "run": directory.uri,
            "run_id": record.run_id,
            "digest": proof.digest,
            "digest_class": proof.digest_class,
            "complete": proof.complete,
            "joined_by": join.images.by,
            "score_threshold": record.config.get("score_threshold"),
        },
    )
    if not join.frames.num_videos:
        return RunSubjects(images, None)
    return RunSubjects(images, _frames(directory, join, truth, proof, images))


def _frames(
    directory: RunDirectory, join: RunJoin, truth: CocoAnnotations, proof: Proof, images: Subject
) -> Subject:
    frames, counts = join.frames, proof.frames
    num_frames = len(frames.annotated_ids)
    return replace(
        images,
        blocks=blocks_of_run(directory, frames, frames.shards, truth),
        image_ids=np.sort(frames.annotated_ids),
        counts={
            "videos": frames.num_videos,
            # Annotated frames of a video that could not be opened count one by one, too.
            "quarantined": num_frames - counts.ok - counts.missing,
            "missing": counts.missing,
            "sampled_away": frames.num_sampled_away,
            "beyond_end": frames.num_beyond_end,
            "not_in_run": frames.num_not_in_run,
            "size_mismatches": 0,  # counted with the blocks
        },
        about={},
        noun="frames",
    )


def subject_of_results(uri: str, truth: CocoAnnotations) -> Subject:
    """Take a COCO results file."""
    results = load_results(uri, truth)
    num_unsized = int((truth.image_sizes == UNKNOWN_SIDE).any(axis=1).sum())
    if num_unsized:
        _log.info(
            "%r: %d images have no width and height; the recall ladder is without the step "
            "'assignable', which needs them",
            truth.uri,
            num_unsized,
        )
    return Subject(
        blocks=blocks_of_results(results, truth),
        image_ids=np.sort(truth.image_ids),
        order=_FILE_ORDER,
        rule=None if num_unsized else named_rule(DEFAULT_RULES[0]),
        counts={},
        about={"results": results.uri, "results_sha256": results.sha256, "complete": True},
    )


def _require_allowed(directory: RunDirectory, proof: Proof, *, allow_incomplete: bool) -> None:
    if not allow_incomplete or proof.duplicated:
        raise IncompleteRunError(f"{directory.uri}: {proof.incompleteness}")
