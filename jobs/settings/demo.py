"""Settings of ``fcos demo``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from jobs.settings.base import JobSettings, NumActors, Option

# Far from the seed of the training images: no image of the demo was ever trained on.
DEMO_SEED = 2_000_003
# Five seconds.
DEMO_FRAMES = 120


class DemoConfig(JobSettings):
    """How many images and frames to generate, and where to.

    The images and the video go to ``<out>-dataset``, the drawn detections to ``<out>-drawings``.
    """

    out: Annotated[str, Option("RUN")] = Field(
        default="demo-run", min_length=1, description="directory of the run"
    )
    num_images: Annotated[int, Option("N")] = Field(
        default=300, ge=1, le=1_000_000, description="number of images to generate"
    )
    num_frames: Annotated[int, Option("N")] = Field(
        default=DEMO_FRAMES, ge=1, le=100_000, description="number of frames of the video"
    )
    seed: int = Field(default=DEMO_SEED, ge=0, description="seed of the images and the video")
    num_actors: NumActors = "auto"
