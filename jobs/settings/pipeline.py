"""What a user may ask of ``fcos run``."""

from __future__ import annotations

from pydantic import Field

from jobs.settings.detect import DetectConfig


class PipelineConfig(DetectConfig):
    """The settings of ``detect``, and what its result is scored against.

    Attributes:
        annotations: COCO annotation file of the inputs.
    """

    annotations: str = Field(min_length=1)
