"""Scores do not depend on how images are cut into blocks, or on who measures them."""

import json
from pathlib import Path

import numpy as np
import pytest

from jobs import evaluate
from jobs.evaluate import EvaluateConfig
from jobs.scoring import blocks
from tests.jobs.scoring.runs import CAT_BOX, HIT, Image, make_run, write_annotations


def metrics_of_results(annotations: Path, results: Path, **settings):
    config = EvaluateConfig(annotations=str(annotations), results=str(results), **settings)
    return evaluate.run(config).metrics


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_real_results_score_alike_in_any_blocks_here_and_under_ray(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = shared_data / "coco_results"
    files = (
        folder / "instances_val2014_100.json",
        folder / "instances_val2014_fakebbox100_results.json",
    )
    whole = metrics_of_results(*files)
    assert whole["AP"] == pytest.approx(0.504581, abs=5e-7)
    monkeypatch.setattr(blocks, "_DETECTIONS_PER_BLOCK", 50)
    assert metrics_of_results(*files) == whole
    monkeypatch.setattr(blocks, "_IMAGES_PER_BLOCK", 3)
    assert metrics_of_results(*files) == whole
    assert metrics_of_results(*files, num_actors=2) == whole


def test_a_run_scores_alike_in_any_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(0)
    images, boxes, names = [], [], {}
    for i in range(30):
        # Annotated ids fall while manifest order rises.
        names[100 - i] = f"{i:02d}.jpg"
        boxes += [(100 - i, int(random.choice([1, 3])), CAT_BOX) for _ in range(2)]
        scores = np.round(random.random(6), 1)
        found = [(int(random.choice([1, 2, 3])), float(score), HIT[2]) for score in scores]
        images.append(Image(f"/d/{i:02d}.jpg", found))
    annotations = write_annotations(tmp_path, names, boxes)
    uri = make_run(tmp_path, images)
    whole = evaluate.run(EvaluateConfig(run=uri, annotations=annotations)).metrics
    assert 0 < whole["AP"] < 1
    for size in (1, 7, 29):
        monkeypatch.setattr(blocks, "_IMAGES_PER_BLOCK", size)
        assert evaluate.run(EvaluateConfig(run=uri, annotations=annotations)).metrics == whole


def test_annotations_without_images_leave_everything_undefined(tmp_path: Path):
    annotations, results = tmp_path / "a.json", tmp_path / "r.json"
    annotations.write_text(
        json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]})
    )
    results.write_text("[]")
    metrics = metrics_of_results(annotations, results)
    assert metrics["AP"] == -1
    assert [row["name"] for row in metrics["per_category"]] == ["cat"]
