"""The whole job on generated images and a video, by the bundled checkpoint: no download."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from fcos_core.errors import ConfigError
from jobs import render
from jobs.detect import DryRun
from jobs.pipeline import PipelineConfig, PipelineResult
from jobs.pipeline import run as run_pipeline
from jobs.render import RenderConfig
from jobs.settings.demo import DemoConfig
from jobs.storage import absolute, is_local, join, local_path, local_uri
from jobs.synthetic import VIDEO_NAME, generate

_log = logging.getLogger(__name__)

# How many of the run's sources are drawn: the video, which comes first, and images for a sheet.
DEMO_DRAWINGS = 24
# All its images have one shape, so no batch is computed for less than it holds.
DEMO_BATCH_SIZE = 4


def run(config: DemoConfig) -> PipelineResult:
    """Generate the data unless they are there, do the whole job on them, and draw what was found.

    Raises:
        ConfigError: the output is no local folder.
    """
    out = absolute(config.out)
    if not is_local(out):
        raise ConfigError(f"--out {out}: the demo writes its data to a local folder")
    dataset = Path(f"{local_path(out).rstrip('/')}-dataset")
    annotations = _dataset(dataset, config)
    result = run_pipeline(
        PipelineConfig(
            # The video first: so it is the first that is drawn.
            inputs=(str(dataset / "videos" / VIDEO_NAME), str(annotations)),
            annotations=str(annotations),
            image_root=str(dataset / "images"),
            out=out,
            weights="demo",
            batch_size=DEMO_BATCH_SIZE,
            num_actors=config.num_actors,
        )
    )
    assert not isinstance(result, DryRun)
    result.paths["dataset"] = local_uri(str(dataset))
    if result.failure is None:
        _draw(out, result)
    return result


def _draw(out: str, result: PipelineResult) -> None:
    drawings = local_uri(f"{local_path(out).rstrip('/')}-drawings")
    drawn = render.run(RenderConfig(run=out, out=drawings, limit=DEMO_DRAWINGS, num_actors=1))
    result.failure = drawn.failure
    result.paths["drawings"] = drawings
    result.paths["video"] = join(drawings, "videos", VIDEO_NAME)


def _dataset(folder: Path, config: DemoConfig) -> Path:
    annotations = folder / "annotations.json"
    wanted = {
        "num_images": config.num_images,
        "num_frames": config.num_frames,
        "seed": config.seed,
    }
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
    _log.info(
        "drawing %d images and %d frames into %s", config.num_images, config.num_frames, folder
    )
    return generate(folder, **wanted)
