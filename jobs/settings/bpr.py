"""Settings of ``fcos bpr``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jobs.settings.base import Address, Argument, JobSettings, NumProcesses, Option


class BprConfig(JobSettings):
    """Which annotations to measure, by which rules.

    The last six settings make a rule ``custom``, which differs from ``paper`` in what they say. By
    default the rules are ``paper``, ``improved`` and ``torchvision``, or ``custom`` alone.
    """

    annotations: Annotated[str, Argument("ANNOTATIONS")] = Field(
        min_length=1, description="COCO annotation file"
    )
    rules: Annotated[
        tuple[str, ...], Option("NAME", name="--rule", default="paper, improved, torchvision")
    ] = Field(
        default=(),
        description="paper, paper-p4, improved, torchvision, retinanet-none, retinanet-0.4 or "
        "retinanet-all; give it several times to compare rules",
    )
    run: Annotated[str | None, Option("RUN")] = Field(
        default=None, description="count this run's images only, and write to RUN/bpr/"
    )
    out: Annotated[str | None, Option("FILE")] = Field(
        default=None, description="file of the results; the lost boxes go beside it"
    )
    skip_invalid: Annotated[bool, Option()] = Field(
        default=False, description="leave out malformed entries instead of refusing the file"
    )
    num_actors: NumProcesses = "auto"
    address: Address = None
    strides: tuple[int, ...] | None = Field(
        default=None, description="input pixels per cell of each level, finest level first"
    )
    size_ranges: tuple[tuple[float, float], ...] | None = Field(
        default=None, description="smallest and largest max(ltrb) of each level"
    )
    center_radius: float | None = Field(
        default=None, description="radius of centre sampling, in strides"
    )
    min_size: int | None = Field(
        default=None, description="length of the input's shorter side, in pixels"
    )
    max_size: int | None = Field(
        default=None, description="limit of the input's longer side, in pixels"
    )
    boxes: Literal["legacy", "plain"] | None = Field(
        default=None, description="whether a box ends at x + w - 1 (legacy) or at x + w (plain)"
    )

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if self.run is not None and self.out is not None:
            raise ValueError("give either --run or --out FILE, the results go to one place")
        return self
