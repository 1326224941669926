"""What a user may ask of ``fcos render``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Between = Literal["hold", "none"]
"""What is drawn on frames that were not taken: what the last one before shows, or nothing."""


class RenderConfig(BaseModel):
    """What to draw, and where to.

    Attributes:
        run: directory of the run whose detections are drawn.
        targets: instead of a run, COCO annotation file whose encoding is drawn.
        out: folder of the drawings, local or ``s3://``.
        min_score: of detections that are drawn.
        classes: names or ids of the categories that are drawn; none for all.
        between: what is drawn on frames of a video that the run did not take.
        image_root: where the sources lie now; by default where they lay.
        limit: how many images and videos, the first ones; by default all, of targets 20.
        rule: for targets, name of the rule that says which location learns which box.
        num_actors: processes; 1 needs no Ray, ``auto`` decides by how much there is to do.
        address: of a running Ray cluster.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Annotated[str, Field(min_length=1)] | None = None
    targets: Annotated[str, Field(min_length=1)] | None = None
    out: Annotated[str, Field(min_length=1)]
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.5
    classes: tuple[str, ...] = ()
    between: Between = "hold"
    image_root: str | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    rule: str = "paper"
    num_actors: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    address: str | None = None

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.run is None) == (self.targets is None):
            raise ValueError("give RUN, or --targets FILE, and not both")
        return self
