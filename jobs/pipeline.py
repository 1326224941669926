"""The whole job: detect, prove complete, score, measure what could be recalled, report."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jobs import bpr, detect, evaluate, report, verify
from jobs.annotations.coco_json import CocoAnnotations, load_annotations
from jobs.annotations.join import join_items, require_same_categories
from jobs.bpr import BprConfig, BprResult
from jobs.detect import DetectConfig, DetectResult, DryRun
from jobs.evaluate import EvaluateConfig, EvaluateResult
from jobs.parallel.signals import environment
from jobs.planning.begin import RunPlan
from jobs.planning.model_card import read_model_card
from jobs.report import ReportConfig
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import Proof
from jobs.settings.pipeline import PipelineConfig
from jobs.verify import VerifyConfig

_log = logging.getLogger(__name__)

# Intervals take seconds for thousands of images; ``fcos evaluate --resamples`` gives them for more.
_RESAMPLES = 200
_MOST_RESAMPLED = 20_000


@dataclass
class PipelineResult:
    """The results of the steps that were done.

    Attributes:
        run: uri of the run's directory.
        summary_fields: the fields of every step's result line, later steps last.
        paths: uris of the files written beside the run's tables, by their kind.
        proof: of the run; None before ``verify``.
        evaluation: the scores of the run; None before ``evaluate``.
        recall: the best possible recall of the run's images; None before ``bpr``.
        failure: why a step failed, in one line; the steps after it were not done.
    """

    run: str
    summary_fields: dict[str, Any] = field(default_factory=dict[str, Any])
    paths: dict[str, str] = field(default_factory=dict[str, str])
    proof: Proof | None = None
    evaluation: EvaluateResult | None = None
    recall: BprResult | None = None
    failure: str | None = None

    def summary(self) -> dict[str, Any]:
        """The command's last line on stdout."""
        return {**self.summary_fields, "paths": {"run": self.run, **self.paths}}


@dataclass(frozen=True)
class Step:
    """One job of the pipeline, which adds to the result of those before it."""

    name: str
    do: Callable[[PipelineConfig, CocoAnnotations, PipelineResult], None]


def run(config: PipelineConfig) -> PipelineResult | DryRun:
    """Do every step in turn, until one fails.

    The same command again resumes the run and scores it anew. Annotations that cannot be used are
    refused before the first image is looked at.

    Args:
        config: the settings of ``detect``, and the annotations.

    Returns:
        The results; for a dry run what ``detect`` would do.
    """
    with environment(config.storage_environment()):
        annotations = load_annotations(config.annotations, names="images and frames")
        return _dry_run(config, annotations) if config.dry_run else _run(config, annotations)


def _dry_run(config: PipelineConfig, annotations: CocoAnnotations) -> DryRun:
    plan = _detected(config, annotations)
    assert isinstance(plan, DryRun)
    return plan


def _run(config: PipelineConfig, annotations: CocoAnnotations) -> PipelineResult:
    result = PipelineResult(RunDirectory(config.out).uri)
    for step in STEPS:
        _log.info("%s", step.name)
        step.do(config, annotations, result)
        if result.failure is not None:
            break
    return result


def _detect(config: PipelineConfig, annotations: CocoAnnotations, result: PipelineResult) -> None:
    detected = _detected(config, annotations)
    assert isinstance(detected, DetectResult)
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


def _detected(config: PipelineConfig, annotations: CocoAnnotations) -> DetectResult | DryRun:
    """Run ``detect``; annotations of other images or categories are refused before it, not after.

    A run that exists has its manifest, and resuming never lists inputs again.
    """

    def check(plan: RunPlan) -> None:
        join_items(plan.read_table(), annotations, input_annotations=plan.annotations)

    model = read_model_card(config.weights)
    if not RunDirectory(config.out).exists():
        require_same_categories({c.id: c.name for c in model.categories}, annotations)
    settings = config.model_dump(include=set(DetectConfig.model_fields))
    return detect.run(DetectConfig(**settings), model=model, check=check)
