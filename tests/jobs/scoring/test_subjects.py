"""What is scored is exactly the run's images, joined to what was annotated, or a results file."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from fcos_core.errors import ConfigError, IncompleteRunError
from jobs.annotations.coco_json import load_annotations
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.rundir.shard_reading import DamagedShardError
from tests.jobs.scoring.runs import (
    CAT_BOX,
    HIT,
    PERFECT,
    Detection,
    Image,
    make_run,
    write_annotations,
)


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
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT])])

    with pytest.raises(ConfigError, match=expected):
        evaluate(EvaluateConfig(run=uri, annotations=annotations))


def test_categories_may_differ_in_case_be_fewer_and_have_names_for_unused_ids(tmp_path: Path):
    annotations = write_annotations(
        tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX)], categories={1: "Cat ", 2: "cow"}
    )
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT])])

    assert evaluate(EvaluateConfig(run=uri, annotations=annotations)).headline["AP"] == PERFECT


def test_the_input_file_joins_by_its_ids(tmp_path: Path):
    annotations = write_annotations(
        tmp_path, {30: "x/1.jpg", 20: "y/1.jpg"}, [(30, 1, CAT_BOX), (20, 3, CAT_BOX)]
    )
    uri = make_run(
        tmp_path,
        [Image("/d/1.jpg", [HIT], image_id=30), Image("/e/1.jpg", [], image_id=20)],
        input_annotations=annotations,
    )

    result = evaluate(EvaluateConfig(run=uri, annotations=annotations))

    assert result.metrics["joined_by"] == "image_id"
    assert [row["AP"] for row in result.metrics["per_category"]] == [PERFECT, 0.0]


def test_an_image_that_nobody_annotated_is_refused(tmp_path: Path):
    annotations = write_annotations(tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX)])
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT]), Image("/d/b.jpg")])

    with pytest.raises(ConfigError, match=r"of the run's 2 images, 1 has no entry.*/d/b\.jpg"):
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
            Image(
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
    uri = make_run(tmp_path, [Image(f"/d/{names[id_]}", found[id_]) for id_ in names])
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


def test_an_incomplete_run_is_refused_unless_allowed_and_then_says_so(tmp_path: Path):
    annotations = write_annotations(
        tmp_path, {5: "a.jpg", 6: "b.jpg"}, [(5, 1, CAT_BOX), (6, 1, CAT_BOX)]
    )
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT]), Image("/d/b.jpg", [HIT])], without=(1,))

    with pytest.raises(IncompleteRunError, match="1 of 2 rows are missing"):
        evaluate(EvaluateConfig(run=uri, annotations=annotations))
    assert not (tmp_path / "RUN/evaluation").exists()

    result = evaluate(EvaluateConfig(run=uri, annotations=annotations, allow_incomplete=True))

    assert result.headline["AR100"] == 0.5, "the missing image counts as one without detections"
    assert result.metrics["complete"] is False
    assert result.metrics["digest"] is None
    assert result.metrics["counts"]["missing"] == 1


def test_a_damaged_shard_is_never_scored(tmp_path: Path):
    annotations = write_annotations(tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX)])
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT])])
    shard = tmp_path / "RUN/detections/000000/shard-000000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 4
    shard.write_bytes(data)

    with pytest.raises(IncompleteRunError, match=r"shard-000000\.parquet"):
        evaluate(EvaluateConfig(run=uri, annotations=annotations))
    with pytest.raises(DamagedShardError, match=r"shard-000000\.parquet"):
        evaluate(EvaluateConfig(run=uri, annotations=annotations, allow_incomplete=True))


def test_assignable_is_what_can_be_learnt_at_the_input_size_of_the_model(tmp_path: Path):
    # Three pixels between the locations of an image seen as it is; 30 and a location at 800 px.
    small = [9.0, 9.0, 3.0, 3.0]
    annotations = write_annotations(tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX), (5, 1, small)])

    def assignable(folder: str, settings: dict[str, int]) -> tuple[int, list[int]]:
        (tmp_path / folder).mkdir()
        uri = make_run(tmp_path / folder, [Image("/d/a.jpg", [HIT])], settings=settings)
        metrics = evaluate(EvaluateConfig(run=uri, annotations=annotations)).metrics
        assert metrics["assignable_by"] == "torchvision"
        return metrics["ladder"]["steps"][1]["boxes"], metrics["assignable_at_px"]

    assert assignable("own", {"min_size_px": 80, "max_size_px": 100}) == (1, [80, 100])
    assert assignable("larger", {"min_size_px": 800, "max_size_px": 1000}) == (2, [800, 1000])
    assert assignable("old", {}) == (2, [800, 1333]), "a run that does not say has its preset's"
