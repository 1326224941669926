"""What a user may ask of ``fcos bpr``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class BprConfig(BaseModel):
    """What to measure, by which rules.

    Attributes:
        annotations: COCO annotation file.
        rules: names of rules; by default ``paper``, ``improved`` and ``torchvision``, or ``custom``
            alone where one of the choices below is made.
        run: a run's directory: only its images and frames count, and the results go there.
        out: file for the results, with the lost boxes beside it.
        skip_invalid: leave out malformed entries, counted and listed, instead of refusing the file.
        num_actors: processes; ``auto`` is one unless there is enough to do for Ray to pay.
        address: of a Ray cluster; None starts one on this machine when one is needed.
        strides: of the custom rule: input pixels per cell, the finest level first.
        size_ranges: of the custom rule: smallest and largest max(ltrb) of each level.
        center_radius: of the custom rule: centre sampling, in strides.
        min_size: of the custom rule: length of the input's shorter side.
        max_size: of the custom rule: limit of its longer side.
        boxes: of the custom rule: whether the last pixel belongs to a box (``legacy``) or not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    annotations: Annotated[str, Field(min_length=1)]
    rules: tuple[str, ...] = ()
    run: str | None = None
    out: str | None = None
    skip_invalid: bool = False
    num_actors: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    address: str | None = None
    strides: tuple[int, ...] | None = None
    size_ranges: tuple[tuple[float, float], ...] | None = None
    center_radius: float | None = None
    min_size: int | None = None
    max_size: int | None = None
    boxes: Literal["legacy", "plain"] | None = None

    @field_validator("strides", mode="before")
    @classmethod
    def _split_strides(cls, value: object) -> object:
        """``8,16`` on the command line is ``[8, 16]`` in a file."""
        return value.split(",") if isinstance(value, str) else value

    @field_validator("size_ranges", mode="before")
    @classmethod
    def _split_ranges(cls, value: object) -> object:
        """``-1:64,64:inf`` on the command line is ``[[-1, 64], [64, .inf]]`` in a file.

        Raises:
            ValueError: a part has not two ends.
        """
        if not isinstance(value, str):
            return value
        ranges = [part.split(":") for part in value.split(",")]
        for part in ranges:
            if len(part) != len(("low", "high")):
                raise ValueError(f"{':'.join(part)!r} must be LOW:HIGH, such as 64:128 or 512:inf")
        return ranges

    @model_validator(mode="after")
    def _has_one_place(self) -> Self:
        if self.run is not None and self.out is not None:
            raise ValueError("give either --run or --out FILE, the results go to one place")
        return self
