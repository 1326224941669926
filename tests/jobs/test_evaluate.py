"""What is scored is exactly the run's pictures, in a stated order, and the file says all of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from fcos_core.errors import ConfigError, IncompleteRunError
from fcos_core.metrics.coco import METRIC_NAMES
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.tables.coco_json import load_annotations
from jobs.tables.reading import DamagedShardError
from jobs.tables.rows import ManifestItem, Row, items_to_table
from jobs.tables.run_directory import Category, RunDirectory, RunRecord
from jobs.tables.schemas import CURVES, METRICS_PER_CATEGORY
from jobs.tables.writing import commit_shard, encode_shard

CATEGORIES = {1: "cat", 2: "N/A", 3: "dog"}
FAR_AWAY = [200.0, 200.0, 210.0, 210.0]
Detection = tuple[int, float, list[float]]  # category id, score, xyxy


@dataclass
class Picture:
    """One row of a run; ``detections`` None means quarantined."""

    uri: str
    detections: list[Detection] | None = field(default_factory=list[Detection])
    size: tuple[int, int] = (100, 80)
    image_id: int | None = None


def make_run(
    folder: Path,
    pictures: list[Picture],
    *,
    categories: Mapping[int, str] = CATEGORIES,
    input_annotations: str | None = None,
    without: tuple[int, ...] = (),
) -> str:
    """Write a run as ``detect`` leaves it, one picture per shard, ``without`` some shards."""
    run = RunDirectory(str(folder / "RUN"))
    items = [
        ManifestItem(item_id=i, shard=i, kind="image", uri=one.uri, image_id=one.image_id or i + 1)
        for i, one in enumerate(pictures)
    ]
    run.create_manifest(items_to_table(items), {"run_id": "r1", "fingerprint": "f"})
    run.create_run_record(
        RunRecord(
            run_id="r1",
            fingerprint="f",
            fingerprint_fields={},
            config={"score_threshold": 0.05},
            versions={},
            weights_sha256="0" * 64,
            preset="torchvision",
            categories=tuple(Category(id=id_, name=name) for id_, name in categories.items()),
            device="cpu",
            created_at=datetime(2025, 1, 1, tzinfo=UTC),
            input_annotations=input_annotations,
        )
    )
    for item, picture in zip(items, pictures, strict=True):
        if item.shard not in without:
            data = encode_shard([row_of(item, picture)], run_id="r1", shard=item.shard)
            assert commit_shard(run, item.shard, data)
    return run.uri


def row_of(item: ManifestItem, picture: Picture) -> Row:
    names: dict[str, Any] = {"item_id": item.item_id, "image_id": item.image_id, "uri": item.uri}
    if picture.detections is None:
        return Row.quarantined(**names, error_class="ImageError", error="truncated")
    width, height = picture.size
    return Row.ok(
        **names,
        width=width,
        height=height,
        boxes=[box for _, _, box in picture.detections],
        scores=[score for _, score, _ in picture.detections],
        category_ids=[category_id for category_id, _, _ in picture.detections],
    )


def write_annotations(
    folder: Path,
    images: dict[int, str],
    boxes: list[tuple[int, int, list[float]]],
    *,
    categories: Mapping[int, str] | None = None,
    name: str = "instances.json",
) -> str:
    document = {
        "images": [
            {"id": id_, "file_name": file_name, "width": 100, "height": 80}
            for id_, file_name in images.items()
        ],
        "annotations": [
            {"id": n, "image_id": image_id, "category_id": category_id, "bbox": bbox}
            for n, (image_id, category_id, bbox) in enumerate(boxes)
        ],
        "categories": [
            {"id": id_, "name": label}
            for id_, label in (categories or {1: "cat", 3: "dog"}).items()
        ],
    }
    path = folder / name
    path.write_text(json.dumps(document))
    return str(path)


HIT: Detection = (1, 0.9, [10.0, 10.0, 60.0, 60.0])
CAT_BOX = [10.0, 10.0, 50.0, 50.0]
PERFECT = pytest.approx(1.0, abs=1e-12)  # pycocotools adds a spacing to its denominators


def test_worked_example_scores_the_pictures_of_the_run_and_counts_the_others(tmp_path: Path):
    annotations = write_annotations(
        tmp_path,
        {71: "a.jpg", 72: "b.jpg", 73: "c.jpg", 99: "not_in_run.jpg"},
        [(71, 1, CAT_BOX), (72, 1, CAT_BOX), (73, 3, CAT_BOX), (99, 1, CAT_BOX), (99, 3, CAT_BOX)],
    )
    uri = make_run(
        tmp_path,
        [
            Picture("/d/a.jpg", [HIT, (2, 0.3, FAR_AWAY)]),
            Picture("/d/b.jpg", None),
            Picture("/d/c.jpg", [(3, 0.8, [10, 10, 60, 60])], size=(80, 100)),
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
    uri = make_run(tmp_path, [Picture("/d/a.jpg", [HIT])])

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
    summary = result.summary()
    assert summary["AP"] == PERFECT
    assert set(summary["paths"].values()) == {
        f"{uri}/evaluation/metrics.json",
        f"{uri}/evaluation/per_category.parquet",
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
    uri = make_run(tmp_path, [Picture("/d/a.jpg", found)])

    metrics = evaluate(EvaluateConfig(run=uri, annotations=annotations, resamples=20)).metrics

    assert metrics["errors"]["counts"] == {
        "class": 1, "localisation": 0, "both": 0, "duplicate": 0, "background": 0, "missed": 0,
    }  # fmt: skip
    assert metrics["errors"]["shares"]["class"] == pytest.approx(1 - 51 / 101)
    assert metrics["confusions"][0]["true"] == "cat"
    assert metrics["confusions"][0]["predicted"] == "dog"
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


def test_the_columns_of_the_table_are_the_metrics_by_their_names():
    assert tuple(METRICS_PER_CATEGORY.names[-12:]) == METRIC_NAMES


def test_evaluating_again_rewrites_and_out_writes_only_there(tmp_path: Path):
    uri = make_run(tmp_path, [Picture("/d/a.jpg", [HIT])])
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


def test_an_incomplete_run_is_refused_unless_allowed_and_then_says_so(tmp_path: Path):
    annotations = write_annotations(
        tmp_path, {5: "a.jpg", 6: "b.jpg"}, [(5, 1, CAT_BOX), (6, 1, CAT_BOX)]
    )
    uri = make_run(tmp_path, [Picture("/d/a.jpg", [HIT]), Picture("/d/b.jpg", [HIT])], without=(1,))

    with pytest.raises(IncompleteRunError, match="1 of 2 rows are missing"):
        evaluate(EvaluateConfig(run=uri, annotations=annotations))
    assert not (tmp_path / "RUN/evaluation").exists()

    result = evaluate(EvaluateConfig(run=uri, annotations=annotations, allow_incomplete=True))

    assert result.headline["AR100"] == 0.5, "the missing picture counts as one without detections"
    assert result.metrics["complete"] is False
    assert result.metrics["digest"] is None
    assert result.metrics["counts"]["missing"] == 1


def test_a_damaged_shard_is_never_scored(tmp_path: Path):
    annotations = write_annotations(tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX)])
    uri = make_run(tmp_path, [Picture("/d/a.jpg", [HIT])])
    shard = tmp_path / "RUN/detections/shard-000000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 4
    shard.write_bytes(data)

    with pytest.raises(IncompleteRunError, match=r"shard-000000\.parquet"):
        evaluate(EvaluateConfig(run=uri, annotations=annotations))
    with pytest.raises(DamagedShardError, match=r"shard-000000\.parquet"):
        evaluate(EvaluateConfig(run=uri, annotations=annotations, allow_incomplete=True))


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        pytest.param(
            {1: "cat", 3: "car"}, "1 of 2 category ids have another name.*3 is 'dog'", id="renamed"
        ),
        pytest.param(
            {7: "cat", 8: "dog"},
            "none of its category ids is the run's; it has 7 'cat'",
            id="other ids",
        ),
        pytest.param({2: "cow"}, "none of its category ids", id="only an unused id"),
    ],
)
def test_categories_that_mean_something_else_are_refused(
    tmp_path: Path, theirs: dict[int, str], expected: str
):
    annotations = write_annotations(tmp_path, {5: "a.jpg"}, [], categories=theirs)
    uri = make_run(tmp_path, [Picture("/d/a.jpg", [HIT])])

    with pytest.raises(ConfigError, match=expected):
        evaluate(EvaluateConfig(run=uri, annotations=annotations))


def test_categories_may_differ_in_case_be_fewer_and_have_names_for_unused_ids(tmp_path: Path):
    annotations = write_annotations(
        tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX)], categories={1: "Cat ", 2: "cow"}
    )
    uri = make_run(tmp_path, [Picture("/d/a.jpg", [HIT])])

    assert evaluate(EvaluateConfig(run=uri, annotations=annotations)).headline["AP"] == PERFECT


def test_the_input_file_joins_by_its_ids(tmp_path: Path):
    annotations = write_annotations(
        tmp_path, {30: "x/1.jpg", 20: "y/1.jpg"}, [(30, 1, CAT_BOX), (20, 3, CAT_BOX)]
    )
    uri = make_run(
        tmp_path,
        [Picture("/d/1.jpg", [HIT], image_id=30), Picture("/e/1.jpg", [], image_id=20)],
        input_annotations=annotations,
    )

    result = evaluate(EvaluateConfig(run=uri, annotations=annotations))

    assert result.metrics["joined_by"] == "image_id"
    assert [row["AP"] for row in result.metrics["per_category"]] == [PERFECT, 0.0]


def test_a_picture_that_nobody_annotated_is_refused(tmp_path: Path):
    annotations = write_annotations(tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX)])
    uri = make_run(tmp_path, [Picture("/d/a.jpg", [HIT]), Picture("/d/b.jpg")])

    with pytest.raises(ConfigError, match=r"of the run's 2 pictures, 1 match no entry.*/d/b\.jpg"):
        evaluate(EvaluateConfig(run=uri, annotations=annotations))


def test_a_results_file_is_scored_in_its_own_order_as_published(tmp_path: Path, shared_data: Path):
    folder = shared_data / "coco_results"
    out = tmp_path / "metrics.json"

    result = evaluate(
        EvaluateConfig(
            annotations=str(folder / "instances_val2014_100.json"),
            results=str(folder / "instances_val2014_fakebbox100_results.json"),
            out=str(out),
        )
    )

    assert result.headline["AP"] == pytest.approx(0.504581, abs=5e-7)
    assert result.headline["AP50"] == pytest.approx(0.696973, abs=5e-7)
    assert result.headline["AP75"] == pytest.approx(0.572982, abs=5e-7)
    assert json.loads(out.read_text())["order"] == "the results file's own"
    counts = result.metrics["counts"]
    assert (counts["images"], counts["objects"], counts["crowds"]) == (100, 830, 9)
    assert counts["detections"] == 734


def test_a_run_with_the_published_detections_scores_the_same_but_for_ties(
    tmp_path: Path, shared_data: Path
):
    folder = shared_data / "coco_results"
    annotations = str(folder / "instances_val2014_100.json")
    truth = load_annotations(annotations)
    entries = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    found: dict[int, list[Detection]] = {image.id: [] for image in truth.images}
    for entry in entries:
        x, y, width, height = entry["bbox"]
        box = [x, y, x + width, y + height]
        found[entry["image_id"]].append((entry["category_id"], entry["score"], box))
    uri = make_run(
        tmp_path,
        [
            Picture(
                f"/val/{image.file_name}",
                sorted(found[image.id], key=lambda one: -one[1]),
                (image.width, image.height),
            )
            for image in truth.images
        ],
        categories={category.id: category.name for category in truth.categories},
    )

    result = evaluate(EvaluateConfig(run=uri, annotations=annotations))

    # Ties are ordered by content here and by the file there; that moves the third digit at most.
    assert result.headline["AP"] == pytest.approx(0.504581, abs=2e-3)
    assert result.metrics["counts"]["size_mismatches"] == 0


@pytest.mark.parametrize(("run", "results"), [(None, None), ("a", "b")])
def test_exactly_one_of_run_and_results_is_scored(run: str | None, results: str | None):
    with pytest.raises(ValidationError, match="either a run directory or --results"):
        EvaluateConfig(annotations="x.json", run=run, results=results)


def test_a_run_and_its_detections_as_a_results_file_score_alike_to_the_last_bit(tmp_path: Path):
    rng = np.random.default_rng(3)
    names = {id_: f"{id_}.jpg" for id_ in range(1, 13)}
    corner, size = rng.random((2, 40, 2)) * 40
    drawn = np.concatenate([corner, size + 5], axis=1)
    truth = [(1 + n % 12, 1 + 2 * (n % 2), box) for n, box in enumerate(drawn.tolist())]
    found: dict[int, list[Detection]] = {id_: [] for id_ in names}
    for image_id, category_id, (x, y, width, height) in truth:
        moved = np.array(
            [x + rng.random() * 4, y, x + width, y + height * rng.random()], np.float32
        )
        score = float(np.float32(rng.integers(1, 4) / 7))  # few scores, so that many are equal
        found[image_id].append((category_id, score, moved.tolist()))
    annotations = write_annotations(tmp_path, names, truth)
    uri = make_run(tmp_path, [Picture(f"/d/{names[id_]}", found[id_]) for id_ in names])
    entries = [
        {
            "image_id": image_id,
            "category_id": category_id,
            "score": score,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        }
        for image_id, detections in found.items()
        for category_id, score, box in sorted(detections, key=lambda d: (-d[1], d[0], d[2]))
    ]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(entries))

    of_run = evaluate(EvaluateConfig(run=uri, annotations=annotations))
    of_file = evaluate(EvaluateConfig(results=str(results), annotations=annotations))

    assert 0 < of_run.headline["AP"] < 1
    assert of_run.metrics["per_category"] == of_file.metrics["per_category"]
    assert of_run.headline == of_file.headline
    assert of_file.paths == {}


def test_a_path_that_is_no_utf8_ends_up_in_the_file_as_an_escape(tmp_path: Path):
    folder = tmp_path / "gr\udcfcn"  # the byte FC, as Python names it
    folder.mkdir()
    annotations = write_annotations(folder, {5: "a.jpg"}, [(5, 1, CAT_BOX)])
    uri = make_run(tmp_path, [Picture("/d/a.jpg", [HIT])])

    evaluate(EvaluateConfig(run=uri, annotations=annotations))

    metrics = json.loads((tmp_path / "RUN/evaluation/metrics.json").read_text())
    assert metrics["annotations"] == annotations
