"""What a user may ask of ``fcos report``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class ReportConfig(BaseModel):
    """What to report on.

    Attributes:
        run: the run's directory.
        annotations: COCO annotation file, to choose images by; by default the one that the run
            was scored against, if it is still there and the same.
        image_root: folder of the images, where they lie elsewhere than when they were looked at.
        out: file of the page; by default the run's ``report/index.html``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    annotations: str | None = None
    image_root: str | None = None
    out: str | None = None
