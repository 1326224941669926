"""What a user may ask of ``fcos demo``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Far from the seed of the training images: no image of the demo was ever trained on.
DEMO_SEED = 2_000_003
# Five seconds.
DEMO_FRAMES = 120


class DemoConfig(BaseModel):
    """Settings of ``fcos demo``.

    Attributes:
        out: the run's directory; the data go beside it, into ``<out>-dataset``, and what is drawn
            of the detections into ``<out>-drawings``.
        num_images: images to generate.
        num_frames: of the video.
        seed: of both.
        num_actors: workers; ``auto`` is one per GPU, or what the cores allow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Annotated[str, Field(min_length=1)] = "demo-run"
    num_images: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    num_frames: Annotated[int, Field(ge=1, le=100_000)] = DEMO_FRAMES
    seed: Annotated[int, Field(ge=0)] = DEMO_SEED
    num_actors: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
