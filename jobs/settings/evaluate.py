"""Settings of ``fcos evaluate``."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from jobs.settings.base import Address, Argument, JobSettings, NumProcesses, Option


class EvaluateConfig(JobSettings):
    """Which detections to score, and against which annotations."""

    run: Annotated[str | None, Argument("RUN")] = Field(
        default=None, description="directory of a run"
    )
    annotations: Annotated[str, Option("FILE")] = Field(
        description="COCO annotation file to score against"
    )
    results: Annotated[str | None, Option("FILE")] = Field(
        default=None, description="score this COCO results file instead of a run"
    )
    against: Annotated[str | None, Option("RUN_B")] = Field(
        default=None, description="compare with another run on the same images"
    )
    out: Annotated[str | None, Option("FILE", default="RUN/evaluation/metrics.json")] = Field(
        default=None, description="file of the metrics"
    )
    allow_incomplete: Annotated[bool, Option()] = Field(
        default=False, description="score missing images as images without detections"
    )
    resamples: Annotated[int, Option("N")] = Field(
        default=0,
        ge=0,
        le=100_000,
        description="bootstrap intervals from N resamples of the images",
    )
    num_actors: NumProcesses = "auto"
    address: Address = None

    @model_validator(mode="after")
    def _has_one_subject(self) -> Self:
        if (self.run is None) == (self.results is None):
            raise ValueError("give either a run directory or --results FILE")
        if self.against is not None and self.run is None:
            raise ValueError("--against compares two runs; a results file has none")
        return self
