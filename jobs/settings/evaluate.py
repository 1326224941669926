"""What a user may ask of ``fcos evaluate``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EvaluateConfig(BaseModel):
    """What to score, and against what.

    Attributes:
        run: the run's directory; either this or ``results``.
        annotations: COCO annotation file.
        results: COCO results file to score instead of a run.
        against: another run over the same images, to compare this one to.
        out: file for the metrics; by default the run's ``evaluation/metrics.json``.
        allow_incomplete: score a run with missing rows; their images count as without detections.
        resamples: of the images, for intervals around the numbers; 0 gives none.
        num_actors: processes; ``auto`` is one unless there is enough to do for Ray to pay.
        address: of a Ray cluster; None starts one on this machine when one is needed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str | None = None
    annotations: str
    results: str | None = None
    against: str | None = None
    out: str | None = None
    allow_incomplete: bool = False
    resamples: Annotated[int, Field(ge=0, le=100_000)] = 0
    num_actors: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    address: str | None = None

    @model_validator(mode="after")
    def _has_one_subject(self) -> Self:
        if (self.run is None) == (self.results is None):
            raise ValueError("give either a run directory or --results FILE")
        if self.against is not None and self.run is None:
            raise ValueError("--against compares two runs; a results file has none")
        return self
