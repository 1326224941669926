"""Settings of ``fcos detect``."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from jobs.media.limits import MAX_PIXELS
from jobs.rundir.untrusted.limits import MAX_SHARD_ROWS
from jobs.settings.base import Address, Argument, JobSettings, NumActors, Option
from jobs.settings.max_bad import MaxBad
from jobs.settings.shard_range import ShardRange

if TYPE_CHECKING:
    from jobs.media.video import Sampling

PrecisionChoice = Literal["auto", "fp32", "bf16", "fp16"]
EngineChoice = Literal["auto", "eager", "folded", "openvino", "cuda"]

_MIB = 2**20


class DetectConfig(JobSettings):
    """Which images and videos to look at, with which model, and where the rows go."""

    inputs: Annotated[tuple[str, ...], Argument("INPUT")] = Field(
        min_length=1,
        description="image, video, folder, pattern, list file, COCO JSON, WebDataset tar or "
        "Parquet file",
    )
    out: Annotated[str, Option("RUN")] = Field(
        min_length=1, description="directory of the run; an unfinished run there is resumed"
    )
    weights: Annotated[str, Option("SPEC")] = Field(
        default="coco",
        description="coco (torchvision's), demo, or the path or URI of a checkpoint",
    )
    image_root: Annotated[str | None, Option("DIR")] = Field(
        default=None, description="folder of the images that a COCO JSON lists"
    )
    image_column: Annotated[str | None, Option("NAME", default="by its name")] = Field(
        default=None,
        min_length=1,
        description="column of Parquet files that holds images, or paths or uris of images",
    )
    score_threshold: Annotated[float, Option("SCORE")] = Field(
        default=0.05, ge=0, lt=1, description="keep detections with a score above this"
    )
    precision: Annotated[PrecisionChoice, Option()] = Field(
        default="auto",
        description="number format of the network; auto is fp32 on CPUs, bf16 on GPUs that have it",
    )
    engine: Annotated[EngineChoice, Option()] = Field(
        default="auto",
        description="how the network is run; auto is the fastest installed, eager the reference",
    )
    batch_size: Annotated[int | None, Option("N", default="depends on device")] = Field(
        default=None, ge=1, description="images per forward pass"
    )
    num_actors: NumActors = "auto"
    threads_per_actor: Annotated[int | None, Option("N", default="depends on machine")] = Field(
        default=None, ge=1, description="CPU cores of each worker"
    )
    shard_size: Annotated[int | None, Option("N", default="depends on number of inputs")] = Field(
        default=None, ge=1, le=MAX_SHARD_ROWS, description="images and frames per output file"
    )
    every_n_frames: Annotated[int | None, Option("N", default="1")] = Field(
        default=None, ge=1, description="look at frames 0, N, 2N and so on of each video"
    )
    fps: Annotated[float | None, Option("F", default="all")] = Field(
        default=None, gt=0, le=100_000, description="look at F frames per second of each video"
    )
    stream: Annotated[int | None, Option("N", default="best")] = Field(
        default=None, ge=0, description="index of the video stream in each file"
    )
    limit: Annotated[int | None, Option("N", default="all")] = Field(
        default=None, ge=1, description="look at the first N images and videos only"
    )
    shards: Annotated[str | None, Option("A-B", default="all")] = Field(
        default=None,
        description="compute only the shards A to B, counted from 0 (--dry-run says how many there "
        "are), so that several commands fill one run",
    )
    extend: Annotated[bool, Option()] = Field(
        default=False,
        description="add what the inputs have gained since the run was begun; begins it if there "
        "is none",
    )
    retry_quarantined: Annotated[bool, Option()] = Field(
        default=False,
        description="retry the images and frames that the run quarantined, with their present "
        "content",
    )
    max_bad: Annotated[str | None, Option("N|P%", default="no limit")] = Field(
        default=None, description="exit with code 3 when more rows than this are quarantined"
    )
    max_pixels: int = Field(
        default=MAX_PIXELS, ge=1, description="largest image that is decoded, in pixels"
    )
    bytes_in_flight: int = Field(
        default=512 * _MIB,
        ge=_MIB,
        description="bytes that a worker prefetches, encoded and decoded images together",
    )
    address: Address = None
    allow_mixed_devices: Annotated[bool, Option()] = Field(
        default=False,
        description="resume on devices of another model or with other versions of libraries; rows "
        "may then differ in the last bits",
    )
    allow_version_change: Annotated[bool, Option()] = Field(
        default=False,
        description="resume a run that a version with other arithmetic began; rows may then differ "
        "in the last bits",
    )
    allow_unsafe_commit: Annotated[bool, Option()] = Field(
        default=False,
        description="write to an S3 server that ignores If-None-Match; start only one command "
        "on the run at a time",
    )
    s3_anonymous: bool = Field(
        default=False, description="read S3 without credentials, for public buckets"
    )
    s3_requester_pays: bool = Field(
        default=False, description="agree to pay for reading from buckets that ask for it"
    )
    dry_run: Annotated[bool, Option()] = Field(
        default=False, description="print the plan and write nothing"
    )

    def storage_environment(self) -> Mapping[str, str]:
        """Return how S3 is used, as variables of the environment."""
        from jobs.storage.s3.access import S3Access

        return S3Access(
            anonymous=self.s3_anonymous,
            requester_pays=self.s3_requester_pays,
            unsafe_commit=self.allow_unsafe_commit,
        ).environment()

    @model_validator(mode="after")
    def _has_one_sampling(self) -> DetectConfig:
        if self.every_n_frames is not None and self.fps is not None:
            raise ValueError("--every-n-frames and --fps are both given; give one")
        return self

    def sampling(self) -> Sampling:
        from jobs.media.video import Sampling

        fps = None if self.fps is None else Fraction(str(self.fps))
        return Sampling(every_n_frames=self.every_n_frames, fps=fps)

    def shard_numbers(self) -> range | None:
        """The shards that this command computes; None for all."""
        if self.shards is None:
            return None
        asked = ShardRange.parse(self.shards)
        return range(asked.first, asked.last + 1)

    @field_validator("shards", mode="before")
    @classmethod
    def _is_range(cls, value: object) -> str | None:
        return None if value is None else str(ShardRange.parse(str(value)))

    @field_validator("max_bad", mode="before")
    @classmethod
    def _is_limit(cls, value: object) -> str | None:
        if value is None:
            return None
        MaxBad.parse(str(value))
        return str(value)
