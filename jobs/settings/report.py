"""Settings of ``fcos report``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jobs.settings.base import JobSettings, Option, RunArgument


class ReportConfig(JobSettings):
    """Which run to report on, and from which files."""

    run: RunArgument
    annotations: Annotated[
        str | None, Option("FILE", default="the file that scored the run, if unchanged")
    ] = Field(default=None, description="COCO annotation file to choose example images by")
    image_root: Annotated[str | None, Option("DIR", default="where the run found them")] = Field(
        default=None, description="folder of the images, if moved"
    )
    out: Annotated[str | None, Option("FILE", default="RUN/report/index.html")] = Field(
        default=None, description="file of the page"
    )
