"""Every number is counted, explained and written down with what it was scored on."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fcos_core.metrics.coco import METRIC_NAMES
from jobs.annotations.coco_json import load_annotations
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.rundir.schemas import CONFUSION, CURVES, METRICS_PER_AREA, METRICS_PER_CATEGORY
from tests.jobs.scoring.runs import (
    CAT_BOX,
    HIT,
    PERFECT,
    Image,
    make_run,
    write_annotations,
)

FAR_AWAY = [80.0, 60.0, 90.0, 70.0]


def test_worked_example_scores_the_images_of_the_run_and_counts_the_others(tmp_path: Path):
    annotations = write_annotations(
        tmp_path,
        {71: "a.jpg", 72: "b.jpg", 73: "c.jpg", 99: "not_in_run.jpg"},
        [(71, 1, CAT_BOX), (72, 1, CAT_BOX), (73, 3, CAT_BOX), (99, 1, CAT_BOX), (99, 3, CAT_BOX)],
    )
    uri = make_run(
        tmp_path,
        [
            Image("/d/a.jpg", [HIT, (2, 0.3, FAR_AWAY)]),
            Image("/d/b.jpg", None),
            Image("/d/c.jpg", [(3, 0.8, [10, 10, 60, 60])], size=(80, 100)),
        ],
    )

    result = evaluate(EvaluateConfig(run=uri, annotations=annotations))

    # cat: one of two found (recall points 0.00 to 0.50 at precision 1); dog: found.
    assert result.headline["AP"] == pytest.approx((51 / 101 + 1) / 2)
    assert result.headline["AR100"] == pytest.approx(0.75)
    assert result.headline["APl"] == -1.0
    assert result.metrics["counts"] == {
        "images": 3,
        "quarantined": 1,
        "missing": 0,
        "not_in_run": 1,
        "size_mismatches": 1,
        "objects": 3,
        "crowds": 0,
        "detections": 3,
        "detections_of_other_categories": 1,
    }


def test_the_files_written_say_what_was_scored_and_how(tmp_path: Path):
    annotations = write_annotations(tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX)])
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT])])

    result = evaluate(EvaluateConfig(run=uri, annotations=annotations))

    metrics = json.loads((tmp_path / "RUN/evaluation/metrics.json").read_text())
    assert metrics == result.metrics
    assert list(metrics)[:12] == list(METRIC_NAMES)
    assert metrics["order"] == "image_id, -score, category_id, box"
    assert metrics["max_detections"] == [1, 10, 100]
    assert metrics["score_threshold"] == 0.05
    assert (metrics["run"], metrics["run_id"], metrics["complete"]) == (uri, "r1", True)
    assert len(metrics["digest"]) == 64
    assert metrics["annotations"] == annotations
    assert metrics["annotations_sha256"] == load_annotations(annotations).sha256
    per_category = pq.read_table(tmp_path / "RUN/evaluation/per_category.parquet")
    assert per_category.schema.equals(METRICS_PER_CATEGORY)
    assert per_category.to_pylist() == metrics["per_category"]
    assert [row["AP"] for row in metrics["per_category"]] == [PERFECT, -1.0]
    per_area = pq.read_table(tmp_path / "RUN/evaluation/per_area.parquet")
    assert per_area.schema.equals(METRICS_PER_AREA)
    assert per_area.to_pylist() == metrics["per_area"]
    summary = result.summary()
    assert summary["AP"] == PERFECT
    assert set(summary["paths"].values()) == {
        f"{uri}/evaluation/metrics.json",
        f"{uri}/evaluation/per_category.parquet",
        f"{uri}/evaluation/per_area.parquet",
        f"{uri}/evaluation/confusion.parquet",
        f"{uri}/evaluation/curves.parquet",
    }
    json.dumps(summary)


def test_a_score_comes_with_its_explanation(tmp_path: Path):
    # Two cats, one found; a dog that is nowhere; the second cat's detection is called a dog.
    away = [60.0, 60.0, 20.0, 20.0]
    annotations = write_annotations(
        tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX), (5, 1, away)], categories={1: "cat", 3: "dog"}
    )
    found = [HIT, (3, 0.6, [60.0, 60.0, 80.0, 80.0])]
    uri = make_run(tmp_path, [Image("/d/a.jpg", found)])

    metrics = evaluate(EvaluateConfig(run=uri, annotations=annotations, resamples=20)).metrics

    assert metrics["errors"]["counts"] == {
        "class": 1, "localisation": 0, "both": 0, "duplicate": 0, "background": 0, "missed": 0,
    }  # fmt: skip
    assert metrics["errors"]["shares"]["class"] == pytest.approx(1 - 51 / 101)
    assert metrics["confusions"][0]["true"] == "cat"
    assert metrics["confusions"][0]["predicted"] == "dog"
    totals = {"boxes": 2, "correct": 1, "confused": 1, "missed": 0, "background": 0, "ignored": 0}
    assert metrics["confusion_totals"] == {"iou": 0.5, "least_score": 0.5, **totals}
    steps = {step["name"]: step["boxes"] for step in metrics["ladder"]["steps"]}
    assert steps == {
        "ground_truth": 2, "assignable": 2, "found": 2, "right_class": 1, "over_threshold": 1,
        "top_100": 1,
    }  # fmt: skip
    assert metrics["thresholds"]["score"] == pytest.approx(0.9)
    assert sum(row["count"] for row in metrics["calibration"]["bins"]) == 2
    # One image only: every resample is the dataset itself.
    assert metrics["intervals"]["AP"] == pytest.approx([metrics["AP"]] * 2)
    assert metrics["bootstrap"]["resamples"] == 20
    curves = pq.read_table(tmp_path / "RUN/evaluation/curves.parquet")
    assert curves.schema.equals(CURVES)
    mean = next(r for r in curves.to_pylist() if r["category_id"] is None and r["iou"] is None)
    assert sum(mean["precision"]) / 101 == pytest.approx(metrics["AP"])
    json.dumps(metrics, allow_nan=False)


def test_numbers_by_area_are_the_twelve_and_tell_the_sizes_of_each_category_apart(tmp_path: Path):
    # A medium cat that is found and a small one that is not; a dog on the edge of both ranges.
    small, edge = [70.0, 60.0, 10.0, 10.0], [60.0, 10.0, 32.0, 32.0]
    boxes = [(5, 1, CAT_BOX), (5, 1, small), (5, 3, edge)]
    annotations = write_annotations(tmp_path, {5: "a.jpg"}, boxes)
    found = [HIT, (3, 0.6, [60.0, 10.0, 92.0, 42.0])]
    uri = make_run(tmp_path, [Image("/d/a.jpg", found)])

    metrics = evaluate(EvaluateConfig(run=uri, annotations=annotations)).metrics

    rows = {(row["name"], row["area"]): row for row in metrics["per_area"]}
    assert list(rows) == [
        (name, area)
        for name in (None, "cat", "dog")
        for area in ("all", "small", "medium", "large")
    ]
    for area, suffix in (("all", ""), ("small", "s"), ("medium", "m"), ("large", "l")):
        assert rows[None, area]["AP"] == metrics[f"AP{suffix}"]
        assert rows[None, area]["AR100"] == metrics[f"AR{suffix or 100}"]
    assert rows[None, "all"]["AP75"] == metrics["AP75"]
    assert rows["cat", "all"]["AP"] == metrics["per_category"][0]["AP"]
    assert [rows["cat", area]["num_objects"] for area in ("all", "small", "medium")] == [2, 1, 1]
    assert [rows["dog", area]["num_objects"] for area in ("all", "small", "medium")] == [1, 1, 1]
    assert (rows["cat", "small"]["AP50"], rows["cat", "medium"]["AP50"]) == (0.0, PERFECT)
    assert rows["dog", "large"]["AP"] == rows[None, "large"]["AR100"] == -1.0


def test_the_confusion_table_has_every_box_and_every_detection_over_the_score(tmp_path: Path):
    # A cat found, a cat called a dog, a dog missed, a dog where nothing is, one below the score.
    boxes = [(5, 1, CAT_BOX), (5, 1, [60.0, 60.0, 20.0, 20.0]), (5, 3, [60.0, 5.0, 30.0, 30.0])]
    annotations = write_annotations(tmp_path, {5: "a.jpg"}, boxes)
    found = [
        HIT, (3, 0.6, [60.0, 60.0, 80.0, 80.0]), (3, 0.5, FAR_AWAY), (3, 0.4, [60, 5, 90, 35]),
    ]  # fmt: skip
    uri = make_run(tmp_path, [Image("/d/a.jpg", found)])

    evaluate(EvaluateConfig(run=uri, annotations=annotations))

    table = pq.read_table(tmp_path / "RUN/evaluation/confusion.parquet")
    assert table.schema.equals(CONFUSION)
    columns = ("true_name", "predicted_name", "count")
    assert {tuple(row[name] for name in columns) for row in table.to_pylist()} == {
        ("cat", "cat", 1), ("cat", "dog", 1), ("dog", None, 1), (None, "dog", 1),
    }  # fmt: skip
    ids = [(row["true_category_id"], row["predicted_category_id"]) for row in table.to_pylist()]
    assert set(ids) == {(1, 1), (1, 3), (3, None), (None, 3)}
    assert {(row["iou"], row["least_score"]) for row in table.to_pylist()} == {(0.5, 0.5)}


def test_the_columns_of_the_table_are_the_metrics_by_their_names():
    assert tuple(METRICS_PER_CATEGORY.names[-12:]) == METRIC_NAMES


def test_evaluating_again_rewrites_and_out_writes_only_there(tmp_path: Path):
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT])])
    wrong = write_annotations(tmp_path, {5: "a.jpg"}, [(5, 3, CAT_BOX)], name="wrong.json")
    right = write_annotations(tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX)])
    out = tmp_path / "new" / "scores.json"

    evaluate(EvaluateConfig(run=uri, annotations=wrong))
    evaluate(EvaluateConfig(run=uri, annotations=right, out=str(out)))
    first = json.loads((tmp_path / "RUN/evaluation/metrics.json").read_text())
    evaluate(EvaluateConfig(run=uri, annotations=right))
    second = json.loads((tmp_path / "RUN/evaluation/metrics.json").read_text())

    assert (first["AP"], second["AP"]) == (0.0, PERFECT)
    assert json.loads(out.read_text()) == second
    assert [path.name for path in out.parent.iterdir()] == ["scores.json"]


def test_a_path_that_is_no_utf8_is_a_uri_in_the_file(tmp_path: Path):
    folder = tmp_path / "gr\udcfcn"  # the byte FC, as Python names it
    folder.mkdir()
    annotations = write_annotations(folder, {5: "a.jpg"}, [(5, 1, CAT_BOX)])
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT])])

    evaluate(EvaluateConfig(run=uri, annotations=annotations))

    metrics = json.loads((tmp_path / "RUN/evaluation/metrics.json").read_text())
    assert metrics["annotations"] == f"file://{tmp_path}/gr%FCn/instances.json"
