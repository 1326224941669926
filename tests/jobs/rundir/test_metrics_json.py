"""What is written to ``metrics.json`` is read back; parts of other versions are left out."""

import json
import logging
from typing import Any

import pytest
from pydantic import ValidationError

from fcos_core.metrics.coco import METRIC_NAMES
from jobs.rundir.metrics_json import CategoryMetrics, Errors, Metrics, Threshold

NUMBERS = {name: i / 16 for i, name in enumerate(METRIC_NAMES)}
SUBJECT: dict[str, Any] = {
    "run": "/run",
    "digest": None,
    "annotations": "/a.json",
    "annotations_sha256": "0" * 64,
}


def metrics(**more: Any) -> Metrics:
    rows = [CategoryMetrics(category_id=3, name="cat", num_objects=1, num_detections=2, **NUMBERS)]
    return Metrics(**NUMBERS, **SUBJECT, counts={"images": 1}, per_category=rows, **more)


def test_the_file_has_the_set_fields_in_their_order_and_no_other():
    document = metrics(thresholds=None, errors=Errors(shares={"class": 0.5})).document()
    assert list(document) == [
        *METRIC_NAMES,
        *SUBJECT,
        "counts",
        "errors",
        "thresholds",
        "per_category",
    ]
    assert (document["digest"], document["thresholds"]) == (None, None)
    assert document["errors"] == {"shares": {"class": 0.5}}
    head = ["category_id", "name", "num_objects", "num_detections"]
    assert list(document["per_category"][0]) == [*head, *METRIC_NAMES]


def test_what_is_written_is_read_back_and_frames_repeat_nothing():
    frames = metrics().model_copy(update={"counts": {"frames": 7}})
    written = metrics(intervals={"AP": (0.25, 0.5)}, intervals_per_category={3: (0, 1)})
    written = written.model_copy(update={"video": frames, "comparison": {"against": {"run": "/b"}}})

    document = json.loads(written.encode())

    assert not set(SUBJECT) & set(document["video"])
    assert list(document)[-2:] == ["video", "comparison"]
    assert document["intervals_per_category"] == {"3": [0.0, 1.0]}
    got = Metrics.read(document)
    assert got.document() == document
    assert got.video is not None
    assert got.video.annotations == "/a.json"
    assert (got.video.is_about_frames, got.video.numbers) == (True, NUMBERS)
    assert got.intervals == {"AP": (0.25, 0.5)}


def test_an_invalid_part_is_left_out_when_read_and_refused_when_written(
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.WARNING)
    document = {**metrics().document(), "thresholds": {"score": "high"}, "new": 1}
    assert Metrics.read(document).thresholds is None
    assert "thresholds is left out of the report" in caplog.text
    with pytest.raises(ValidationError):
        metrics(thresholds={"score": "high"})
    with pytest.raises(ValidationError):
        Metrics.read({name: value for name, value in document.items() if name != "annotations"})


def test_a_number_that_an_older_file_lacks_is_undefined():
    document = {name: value for name, value in metrics().document().items() if name != "APs"}
    assert Metrics.read(document).numbers == {**NUMBERS, "APs": -1.0}
    row = {name: value for name, value in document["per_category"][0].items() if name != "AP"}
    with pytest.raises(ValidationError):
        Metrics.read({**document, "per_category": [row]})


def test_a_threshold_has_the_fields_of_the_file():
    values = {"score": 0.5, "precision": 1.0, "recall": 0.5, "f1": 0.75}
    assert Threshold(**values).model_dump() == values
