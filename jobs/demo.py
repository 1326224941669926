"""The whole job on generated pictures with the bundled checkpoint: nothing to download."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from fcos_core.errors import ConfigError
from jobs.detect import Plan
from jobs.pipeline import PipelineConfig, PipelineResult
from jobs.pipeline import run as run_pipeline
from jobs.storage import absolute
from jobs.synthetic import generate

_log = logging.getLogger(__name__)

# Far from the seed of the training pictures: no picture of the demo was ever trained on.
DEMO_SEED = 2_000_003
# All its pictures have one shape, so no batch is computed for less than it holds.
DEMO_BATCH_SIZE = 4


class DemoConfig(BaseModel):
    """Settings of ``fcos demo``.

    Attributes:
        out: the run's directory; the pictures go beside it, into ``<out>-dataset``.
        num_images: pictures to generate.
        seed: of the pictures.
        num_actors: workers; ``auto`` is one per GPU, or what the cores allow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Annotated[str, Field(min_length=1)] = "demo-run"
    num_images: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    seed: Annotated[int, Field(ge=0)] = DEMO_SEED
    num_actors: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"


def run(config: DemoConfig) -> PipelineResult:
    """Generate the pictures unless they are there, then detect, verify and evaluate.

    Raises:
        ConfigError: the output is no local folder.
    """
    out = absolute(config.out)
    if "://" in out:
        raise ConfigError(f"--out {out}: the demo writes its pictures to a local folder")
    dataset = Path(f"{out.rstrip('/')}-dataset")
    annotations = _dataset(dataset, config)
    result = run_pipeline(
        PipelineConfig(
            inputs=(str(annotations),),
            annotations=str(annotations),
            image_root=str(dataset / "images"),
            out=out,
            weights="demo",
            batch_size=DEMO_BATCH_SIZE,
            num_actors=config.num_actors,
        )
    )
    assert not isinstance(result, Plan)
    result.paths["dataset"] = str(dataset)
    return result


def _dataset(folder: Path, config: DemoConfig) -> Path:
    """Draw the pictures, unless the same ones are there from a run before.

    Raises:
        ConfigError: the folder holds something else.
    """
    annotations = folder / "annotations.json"
    wanted = {"num_images": config.num_images, "seed": config.seed}
    if annotations.exists():
        try:
            info = json.loads(annotations.read_text()).get("info", {})
        except (OSError, ValueError, AttributeError) as error:
            raise ConfigError(f"{annotations}: not a dataset of the demo; remove it") from error
        if {key: info.get(key) for key in wanted} == wanted:
            return annotations
        raise ConfigError(
            f"{folder}: holds another dataset ({info}); remove it or give another --out"
        )
    _log.info("drawing %d pictures into %s", config.num_images, folder)
    return generate(folder, num_images=config.num_images, seed=config.seed)
