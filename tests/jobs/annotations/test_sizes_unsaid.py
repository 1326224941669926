"""A COCO file without widths and heights does whatever one with them does, where they are known."""

import json
from pathlib import Path
from typing import Any

import pytest

from fcos_core.errors import AnnotationError
from jobs import bpr, evaluate
from jobs.bpr import BprConfig
from jobs.evaluate import EvaluateConfig
from jobs.rendering.targets.run import draw_targets
from jobs.synthetic import generate
from jobs.training.data import load_data
from tests.jobs.scoring.runs import CAT_BOX, HIT, Image, make_run, write_annotations
from tests.jobs.training.small import small_training


def unsized(annotations: str | Path, *, keys: tuple[str, ...] = ("width", "height")) -> str:
    """Write the same file without sizes beside it."""
    path = Path(annotations)
    document = json.loads(path.read_text())
    for image in document["images"]:
        for key in keys:
            del image[key]
    other = path.with_name(f"unsized_{path.name}")
    other.write_text(json.dumps(document))
    return str(other)


def scored(**settings: Any) -> dict[str, Any]:
    metrics = evaluate.run(EvaluateConfig(num_actors=1, **settings)).metrics
    return {name: value for name, value in metrics.items() if not name.startswith("annotations")}


@pytest.fixture
def annotations(tmp_path: Path) -> str:
    small = [9.0, 9.0, 0.1, 0.1]
    boxes = [(71, 1, CAT_BOX), (71, 1, small), (72, 3, CAT_BOX)]
    return write_annotations(tmp_path, {71: "a.jpg", 72: "b.jpg"}, boxes)


@pytest.mark.parametrize("keys", [("width", "height"), ("height",)])
def test_a_run_is_scored_alike_since_its_rows_have_the_sizes(
    tmp_path: Path, annotations: str, keys: tuple[str, ...]
):
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT]), Image("/d/b.jpg", [])])
    with_sizes = scored(run=uri, annotations=annotations)
    assert with_sizes["ladder"]["steps"][1]["lost"] == 1, "the small box"
    assert scored(run=uri, annotations=unsized(annotations, keys=keys)) == with_sizes


def test_a_box_of_an_image_that_nobody_could_read_is_lost_where_it_is_not_found(
    tmp_path: Path, annotations: str
):
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT]), Image("/d/b.jpg", None)])
    steps = scored(run=uri, annotations=unsized(annotations))["ladder"]["steps"]
    assert [(step["name"], step["boxes"]) for step in steps[:3]] == [
        ("ground_truth", 3),
        ("assignable", 2),
        ("found", 1),
    ]


def test_results_are_scored_alike_without_the_one_step_that_needs_sizes(
    tmp_path: Path, annotations: str
):
    results = tmp_path / "results.json"
    entry = {"image_id": 71, "category_id": 1, "bbox": CAT_BOX, "score": 0.5}
    results.write_text(json.dumps([entry]))
    with_sizes = scored(results=str(results), annotations=annotations)
    without = scored(results=str(results), annotations=unsized(annotations))
    names = [step["name"] for step in without["ladder"]["steps"]]
    assert names == ["ground_truth", "found", "right_class", "over_threshold", "top_100"]
    assert "assignable_by" not in without
    for name in with_sizes.keys() - {"ladder", "assignable_by", "assignable_at_px"}:
        assert without[name] == with_sizes[name], name


def test_best_possible_recall_takes_the_sizes_of_a_run_or_says_that_it_needs_them(
    tmp_path: Path, annotations: str
):
    def recalled(path: str) -> dict[str, Any]:
        return bpr.run(BprConfig(annotations=path, run=uri, num_actors=1)).document

    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT]), Image("/d/b.jpg", [])])
    without = unsized(annotations)
    document = recalled(without)
    assert document["rules"] == recalled(annotations)["rules"]
    assert document["images"] == 2
    assert "images_without_size" not in document
    with pytest.raises(AnnotationError) as caught:
        bpr.run(BprConfig(annotations=without, num_actors=1))
    needed = "width is missing, needed by best possible recall without --run"
    assert str(caught.value) == f"{without}: images[0] (id 71): {needed}"


def test_best_possible_recall_counts_the_images_whose_size_nobody_knows(
    tmp_path: Path, annotations: str, caplog: pytest.LogCaptureFixture
):
    uri = make_run(tmp_path, [Image("/d/a.jpg", [HIT]), Image("/d/b.jpg", None)])
    measured = bpr.run(BprConfig(annotations=unsized(annotations), run=uri, num_actors=1))
    assert (measured.document["images"], measured.document["images_without_size"]) == (1, 1)
    assert all(rule["total"] == 2 for rule in measured.rules.values())
    assert "1 of the run's images are left out" in caplog.text


def test_training_takes_the_sizes_of_its_images(tmp_path: Path):
    dataset = generate(tmp_path / "data", num_images=3, seed=1)
    without = Path(unsized(dataset))
    sizes = load_data(small_training(dataset, tmp_path)).annotations.image_sizes.tolist()
    config = small_training(without, tmp_path, val_annotations=str(without))
    data = load_data(config)
    assert data.annotations.image_sizes.tolist() == sizes
    assert [(image.width, image.height) for image in data.annotations.images] == list(
        map(tuple, sizes)
    )
    assert data.val_annotations is not None
    assert data.val_annotations.image_sizes.tolist() == sizes


def test_targets_are_drawn_without_sizes_and_a_side_that_is_said_must_be_right(tmp_path: Path):
    dataset = generate(tmp_path / "data", num_images=2, seed=1)

    def drawn(annotations: str) -> int:
        return len(
            draw_targets(
                annotations, rule_name="paper", out=str(tmp_path / "out"), image_root=None, limit=9
            ).drawn
        )

    without = Path(unsized(dataset))
    assert drawn(str(without)) == 2
    document = json.loads(without.read_text())
    document["images"][0]["height"] = 3
    without.write_text(json.dumps(document))
    assert drawn(str(without)) == 1


@pytest.mark.parametrize("truth", ["gt", "g_no_size", "g_iscrowd_null", "g_float_ids"])
def test_what_other_programs_leave_out_scores_as_with_pycocotools(shared_data: Path, truth: str):
    case = shared_data / "cases" / "coco-no-size"
    for results in ("dt", "d_img_float"):
        found = scored(
            results=str(case / f"{results}.json"), annotations=str(case / f"{truth}.json")
        )
        assert found["AP"] == pytest.approx(0.127036, abs=5e-7), "pycocotools 2.0, on gt.json"
