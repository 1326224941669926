"""The whole job: detect, prove complete, score, measure what could be recalled, report."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jobs import bpr, detect, evaluate, report, verify
from jobs.annotations.coco_json import CocoAnnotations, load_annotations
from jobs.annotations.join import join_items, require_same_categories
from jobs.bpr import BprConfig, BprResult
from jobs.detect import DetectConfig, DetectResult, Plan
from jobs.evaluate import EvaluateConfig, EvaluateResult
from jobs.parallel.signals import environment
from jobs.planning.begin import Draft
from jobs.planning.model_card import read_model_card
from jobs.report import ReportConfig
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import Proof
from jobs.settings.pipeline import PipelineConfig
from jobs.storage.weights import resolve_weights
from jobs.verify import VerifyConfig

_log = logging.getLogger(__name__)

# Intervals take seconds for thousands of images; ``fcos evaluate --resamples`` gives them for more.
_RESAMPLES = 200
_MOST_RESAMPLED = 20_000


@dataclass
class PipelineResult:
    """What the steps came to so far.

    Attributes:
        run: uri of the run's directory.
        summary_fields: what each step had to say, later steps last.
        paths: uris of the files written beside the run's tables, by what they are.
        proof: once the run is verified.
        evaluation: once it is scored.
        recall: once the best possible recall of its images is measured.
        failure: why a step was not a success, in one line; the steps after it were not taken.
    """

    run: str
    summary_fields: dict[str, Any] = field(default_factory=dict[str, Any])
    paths: dict[str, str] = field(default_factory=dict[str, str])
    proof: Proof | None = None
    evaluation: EvaluateResult | None = None
    recall: BprResult | None = None
    failure: str | None = None

    def summary(self) -> dict[str, Any]:
        """What the command's last line on stdout says."""
        return {**self.summary_fields, "paths": {"run": self.run, **self.paths}}


@dataclass(frozen=True)
class Step:
    """One job of the pipeline, which adds to the result of those before it."""

    name: str
    take: Callable[[PipelineConfig, CocoAnnotations, PipelineResult], None]


def run(config: PipelineConfig) -> PipelineResult | Plan:
    """Take every step in turn, until one fails.

    The same command again resumes the run and scores it anew. Annotations that cannot be used are
    refused before the first image is looked at.

    Args:
        config: of ``detect``, and the annotations.

    Returns:
        The result so far; the plan for a dry run.
    """
    with environment(config.storage_environment()):
        return _run(config)


def _run(config: PipelineConfig) -> PipelineResult | Plan:
    annotations = load_annotations(config.annotations, names="images and frames")
    if config.dry_run:
        plan = _detected(config, annotations)
        assert isinstance(plan, Plan)
        return plan
    result = PipelineResult(RunDirectory(config.out).uri)
    for step in STEPS:
        _log.info("%s", step.name)
        step.take(config, annotations, result)
        if result.failure is not None:
            break
    return result


def _detect(config: PipelineConfig, annotations: CocoAnnotations, result: PipelineResult) -> None:
    detected = _detected(config, annotations)
    assert not isinstance(detected, Plan)
    result.summary_fields |= detected.summary()
    result.failure = detected.failure


def _verify(config: PipelineConfig, _: CocoAnnotations, result: PipelineResult) -> None:
    verified = verify.run(VerifyConfig(run=config.out))
    result.summary_fields |= verified.summary()
    result.proof = verified.proof
    result.failure = verified.failure


def _evaluate(config: PipelineConfig, annotations: CocoAnnotations, result: PipelineResult) -> None:
    scored = evaluate.run(
        EvaluateConfig(
            run=config.out,
            annotations=config.annotations,
            resamples=_RESAMPLES if len(annotations.image_ids) <= _MOST_RESAMPLED else 0,
            address=config.address,
        ),
        truth=annotations,
        proof=result.proof,
    )
    result.summary_fields |= scored.headline
    if scored.video:
        result.summary_fields["video"] = scored.video
    result.paths |= scored.paths
    result.evaluation = scored


def _bpr(config: PipelineConfig, annotations: CocoAnnotations, result: PipelineResult) -> None:
    measured = bpr.run(
        BprConfig(run=config.out, annotations=config.annotations, address=config.address),
        truth=annotations,
    )
    result.summary_fields["bpr"] = measured.headline
    result.paths |= measured.paths
    result.recall = measured


def _report(config: PipelineConfig, annotations: CocoAnnotations, result: PipelineResult) -> None:
    written = report.run(
        ReportConfig(run=config.out, annotations=config.annotations),
        truth=annotations,
        proof=result.proof,
    )
    result.paths["report"] = written.report


STEPS = (
    Step("detect", _detect),
    Step("verify", _verify),
    Step("evaluate", _evaluate),
    Step("bpr", _bpr),
    Step("report", _report),
)
"""In this order; each reads what those before it wrote."""


def _detected(config: PipelineConfig, annotations: CocoAnnotations) -> DetectResult | Plan:
    """Look at the inputs, unless the annotations are of others: not after hours, but before them.

    A run that exists has its manifest, and resuming never lists inputs again.
    """

    def check(draft: Draft) -> None:
        join_items(draft.items, annotations, input_annotations=draft.annotations)

    if not RunDirectory(config.out).exists():
        card = read_model_card(resolve_weights(config.weights))
        require_same_categories({c.id: c.name for c in card.categories}, annotations)
    settings = config.model_dump(include=set(DetectConfig.model_fields))
    return detect.run(DetectConfig(**settings), check=check)
