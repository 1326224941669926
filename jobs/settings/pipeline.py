"""Settings of ``fcos run``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jobs.settings.base import Option
from jobs.settings.detect import DetectConfig


class PipelineConfig(DetectConfig):
    """The settings of ``fcos detect``, and the annotations that score its detections."""

    annotations: Annotated[str, Option("FILE")] = Field(
        min_length=1, description="COCO annotation file to score against"
    )
