"""What a user asks of ``fcos detect``: checked when it is built, before any work."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from jobs.media.limits import MAX_PIXELS

if TYPE_CHECKING:
    from jobs.media.video import Sampling

AskedPrecision = Literal["auto", "fp32", "bf16", "fp16"]
AskedEngine = Literal["auto", "eager"]

_MIB = 2**20
_BUDGET = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<percent>\s*%)?")
_WHOLE = 100


@dataclass(frozen=True)
class BadBudget:
    """A limit of quarantined rows.

    Attributes:
        limit: rows, or percent of the planned rows.
        is_percentage: which of the two.
    """

    limit: float
    is_percentage: bool

    @classmethod
    def parse(cls, text: str) -> BadBudget:
        """Read what a user wrote.

        Raises:
            ValueError: it is neither a count nor a percentage.
        """
        match = _BUDGET.fullmatch(text.strip())
        if match is None:
            raise ValueError("must be a count such as 10, or a percentage such as 0.5%")
        limit, is_percentage = float(match["number"]), match["percent"] is not None
        if is_percentage and limit > _WHOLE:
            raise ValueError("must be at most 100%")
        if not is_percentage and not limit.is_integer():
            raise ValueError("must be a whole count, or end in %")
        return cls(limit, is_percentage)

    def rows(self, planned: int) -> int:
        """Say how many rows may be quarantined of so many."""
        return math.floor(planned * self.limit / _WHOLE) if self.is_percentage else int(self.limit)


class DetectConfig(BaseModel):
    """What to look at, with what, and where the rows go.

    Attributes:
        inputs: images, videos, folders, patterns, lists, COCO json, WebDataset tars, Parquet files.
        out: the run's directory: new, empty, or the same run begun before.
        weights: ``coco``, ``demo``, a path or a uri.
        image_root: where the images of a COCO json lie.
        score_threshold: detections lie above.
        precision: of the network; ``auto`` is fp32, which alone keeps the promised tolerances.
        engine: how the network is run.
        batch_size: images per forward pass; None chooses by device.
        num_actors: workers; ``auto`` is one per GPU, or what the cores allow.
        threads_per_actor: cores of each; None chooses.
        shard_size: rows per output file, images and frames; None chooses by how many there are.
        every_n_frames: of videos, look at frames 0, n, 2n and so on.
        fps: of videos, look at so many frames a second of their time.
        stream: of videos, the index of the stream in the file; None takes the best.
        limit: look only at so many items.
        retry_quarantined: try again what a run that is there has quarantined.
        max_bad: fail when more rows than that are quarantined: a count, or a percentage.
        max_pixels: the largest image that is decoded.
        bytes_in_flight: what a worker loads ahead, encoded and decoded.
        address: of a Ray cluster; None starts one on this machine.
        allow_mixed_devices: go on with devices of another model, giving up bit-for-bit equality.
        allow_unsafe_commit: write to an S3 server that ignores ``If-None-Match``.
        s3_anonymous: read S3 without credentials, for public buckets.
        s3_requester_pays: agree to pay for reading from buckets that ask for it.
        dry_run: say what would be done, and write nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: Annotated[tuple[str, ...], Field(min_length=1)]
    out: Annotated[str, Field(min_length=1)]
    weights: str = "coco"
    image_root: str | None = None
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.05
    precision: AskedPrecision = "auto"
    engine: AskedEngine = "auto"
    batch_size: Annotated[int, Field(ge=1)] | None = None
    num_actors: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    threads_per_actor: Annotated[int, Field(ge=1)] | None = None
    shard_size: Annotated[int, Field(ge=1)] | None = None
    every_n_frames: Annotated[int, Field(ge=1)] | None = None
    fps: Annotated[float, Field(gt=0, le=100_000)] | None = None
    stream: Annotated[int, Field(ge=0)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    retry_quarantined: bool = False
    max_bad: str | None = None
    max_pixels: Annotated[int, Field(ge=1)] = MAX_PIXELS
    bytes_in_flight: Annotated[int, Field(ge=_MIB)] = 512 * _MIB
    address: str | None = None
    allow_mixed_devices: bool = False
    allow_unsafe_commit: bool = False
    s3_anonymous: bool = False
    s3_requester_pays: bool = False
    dry_run: bool = False

    def storage_environment(self) -> Mapping[str, str]:
        """Say how S3 is to be used, as variables of the environment."""
        from jobs.storage.s3.access import S3Access

        return S3Access(
            anonymous=self.s3_anonymous,
            requester_pays=self.s3_requester_pays,
            unsafe_commit=self.allow_unsafe_commit,
        ).environment()

    @model_validator(mode="after")
    def _has_one_sampling(self) -> DetectConfig:
        if self.every_n_frames is not None and self.fps is not None:
            raise ValueError("every_n_frames and fps are both given; give one")
        return self

    def sampling(self) -> Sampling:
        """Say which frames of videos are looked at."""
        from jobs.media.video import Sampling

        fps = None if self.fps is None else Fraction(str(self.fps))
        return Sampling(every_n_frames=self.every_n_frames, fps=fps)

    @field_validator("max_bad", mode="before")
    @classmethod
    def _is_budget(cls, value: object) -> str | None:
        if value is None:
            return None
        BadBudget.parse(str(value))
        return str(value)
