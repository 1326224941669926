"""Settings of ``fcos render``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jobs.settings.base import Address, Argument, JobSettings, NumProcesses, Option

Between = Literal["hold", "none"]
"""What is drawn on a frame that the run did not take: the frame before's detections, or none."""


class RenderConfig(JobSettings):
    """Which detections or training targets to draw, and where to."""

    run: Annotated[str | None, Argument("RUN")] = Field(
        default=None, min_length=1, description="directory of a run"
    )
    targets: Annotated[str | None, Option("FILE")] = Field(
        default=None,
        min_length=1,
        description="draw the training targets of this COCO annotation file instead of a run",
    )
    out: Annotated[str, Option("DIR")] = Field(
        min_length=1, description="folder of the drawings, local or s3://"
    )
    min_score: Annotated[float, Option("SCORE")] = Field(
        default=0.5, ge=0, le=1, description="draw detections with at least this score"
    )
    classes: Annotated[tuple[str, ...], Option("NAME,ID,...", default="all")] = Field(
        default=(), description="draw these classes only, given by name or id"
    )
    between: Annotated[Between, Option()] = Field(
        default="hold",
        description="on frames that the run skipped: hold draws the detections of the last frame "
        "before them, none draws nothing",
    )
    image_root: Annotated[str | None, Option("DIR", default="where the run found them")] = Field(
        default=None, description="folder of the images and videos, if moved"
    )
    limit: Annotated[int | None, Option("N", default="all; with --targets 20")] = Field(
        default=None, ge=1, description="draw the first N images and videos only"
    )
    rule: Annotated[str, Option("NAME")] = Field(
        default="paper",
        description="with --targets: rule that assigns boxes to locations, as in fcos bpr",
    )
    num_actors: NumProcesses = "auto"
    address: Address = None

    @model_validator(mode="after")
    def _has_one_subject(self) -> Self:
        if (self.run is None) == (self.targets is None):
            raise ValueError("give RUN, or --targets FILE, and not both")
        return self
