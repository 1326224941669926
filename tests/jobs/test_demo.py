"""The demo, small: images and a video, detected, scored apart, and drawn."""

import json
from pathlib import Path

import av
import pytest

from fcos_core.errors import ConfigError
from fcos_core.metrics.coco import METRIC_NAMES
from jobs import demo
from jobs.demo import DemoConfig
from jobs.pipeline import PipelineConfig
from jobs.pipeline import run as run_pipeline
from jobs.synthetic import generate


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_the_video_is_detected_scored_apart_reported_and_drawn(tmp_path: Path):
    out = tmp_path / "run"

    result = demo.run(DemoConfig(out=str(out), num_images=4, num_frames=26, num_actors=1))

    assert result.failure is None
    summary = json.loads(json.dumps(result.summary()))
    assert (summary["planned"], summary["ok"], summary["videos"]) == (30, 30, 1)
    assert summary["video"]["frames"] == 26
    assert all(0 < summary["video"][name] <= 1 for name in METRIC_NAMES[:3])
    (video,) = summary["per_video"]
    assert (video["frames"], video["quarantined"], video["missing"]) == (26, 0, 0)
    assert video["frames_per_s"] > 0
    for path in summary["paths"].values():
        assert Path(path).exists(), path
    with av.open(summary["paths"]["video"]) as container:
        assert sum(1 for _ in container.decode(video=0)) == 26
    page = Path(summary["paths"]["report"]).read_text()
    assert "shapes.mp4, frame" in page
    assert "30 of 30 images and frames" in page

    with pytest.raises(ConfigError, match="holds another dataset"):
        demo.run(DemoConfig(out=str(out), num_images=4, num_frames=27))


def test_frames_without_annotations_are_refused_before_any_is_computed(tmp_path: Path):
    annotations = generate(tmp_path / "data", num_images=1, seed=1, num_frames=5)
    document = json.loads(annotations.read_text())
    document["images"].pop()  # frame 4
    last = document["images"][-1]["id"]
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] <= last]
    annotations.write_text(json.dumps(document))
    config = PipelineConfig(
        inputs=(str(tmp_path / "data" / "videos"),),
        annotations=str(annotations),
        out=str(tmp_path / "run"),
        weights="demo",
    )
    with pytest.raises(ConfigError, match=r"of the run's 5 frames, 1 has no entry .* frame 4 of"):
        run_pipeline(config)
    assert not (tmp_path / "run").exists()
