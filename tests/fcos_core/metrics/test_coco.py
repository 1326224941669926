"""Our numbers are pycocotools' own, to the last bit, without its files and its printing."""

import json
import sys
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.metrics.coco import (
    METRIC_NAMES,
    DetectedBoxes,
    canonical_order,
    evaluate_boxes,
)
from tests.fcos_core.metrics.judge import Record, detected_boxes, plain_pycocotools, true_boxes


def random_dataset(seed: int, num_images: int, num_categories: int) -> tuple[Record, list[Record]]:
    """Boxes on a coarse grid with coarse scores, so that ties and exact overlaps are common."""
    rng = np.random.default_rng(seed)
    categories = [{"id": 3 * k + 1, "name": f"c{k}"} for k in range(num_categories)]

    def box() -> list[float]:
        sides = rng.integers(0, 30, 2) * 7.5
        return [*(rng.integers(0, 20, 2) * 9.25).tolist(), *sides.tolist()]

    annotations: list[Record] = []
    results: list[Record] = []
    for image_id in range(1, num_images + 1):
        for _ in range(rng.integers(0, 6)):
            bbox = box()
            category_id = categories[rng.integers(num_categories)]["id"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category_id,
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3] * 0.8,
                    "iscrowd": int(rng.random() < 0.1),
                }
            )
            for _ in range(rng.integers(0, 4)):
                moved = [bbox[0] + rng.integers(0, 3) * 2.5, *bbox[1:]]
                score = float(rng.integers(0, 5)) / 4
                results.append(
                    {
                        "image_id": image_id,
                        "category_id": category_id,
                        "bbox": moved,
                        "score": score,
                    }
                )
        results += [
            {
                "image_id": image_id,
                "category_id": categories[rng.integers(num_categories)]["id"],
                "bbox": box(),
                "score": float(rng.integers(0, 5)) / 4,
            }
            for _ in range(rng.integers(0, 3))
        ]
    images = [{"id": i} for i in range(1, num_images + 1)]
    rng.shuffle(annotations)
    rng.shuffle(results)
    return {"images": images, "annotations": annotations, "categories": categories}, results


def test_published_pair_gives_the_published_numbers_and_pycocotools_bits(shared_data: Path):
    folder = shared_data / "coco_results"
    dataset = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())

    ours = evaluate_boxes(
        true_boxes(dataset["annotations"]),
        detected_boxes(results),
        category_ids=[category["id"] for category in dataset["categories"]],
    ).overall

    assert ours["AP"] == pytest.approx(0.504581, abs=5e-7)
    assert ours["AP50"] == pytest.approx(0.696973, abs=5e-7)
    assert ours["AP75"] == pytest.approx(0.572982, abs=5e-7)
    assert list(ours.values()) == plain_pycocotools(dataset, results).stats.tolist()


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32 - 1), num_images=st.integers(1, 25), num_categories=st.integers(1, 6)
)
def test_overall_and_each_category_equal_pycocotools_bit_for_bit(
    seed: int, num_images: int, num_categories: int
):
    dataset, results = random_dataset(seed, num_images, num_categories)
    ids = [category["id"] for category in dataset["categories"]]

    ours = evaluate_boxes(
        true_boxes(dataset["annotations"]), detected_boxes(results), category_ids=ids
    )

    plain = plain_pycocotools(dataset, results)
    assert list(ours.overall.values()) == plain.stats.tolist()
    for k, category_id in enumerate(sorted(ids)):
        precision = plain.eval["precision"][:, :, k, 0, 2]
        expected = float(np.mean(precision[precision > -1])) if (precision > -1).any() else -1.0
        assert ours.per_category[category_id]["AP"] == pytest.approx(expected, abs=1e-12)


def test_an_annotation_with_id_zero_counts_like_any_other():
    # pycocotools given the file as it is takes the match with id 0 for "matched nothing".
    truth = [{"id": 0, "image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50], "area": 2500}]
    result = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50], "score": 0.9}

    metrics = evaluate_boxes(
        true_boxes([truth[0] | {"iscrowd": 0}]), detected_boxes([result]), category_ids=[1]
    )

    assert metrics.overall["AP"] == pytest.approx(1.0)


def test_worked_example_of_one_hit_and_one_miss():
    """Two objects, the best detection wrong, the second right: precision 1/2 up to recall 1/2."""
    truth = [
        {"image_id": 1, "category_id": 7, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0},
        {"image_id": 2, "category_id": 7, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0},
    ]
    results = [
        {"image_id": 1, "category_id": 7, "bbox": [100, 100, 50, 50], "score": 0.9},
        {"image_id": 2, "category_id": 7, "bbox": [0, 0, 50, 50], "score": 0.8},
    ]

    overall = evaluate_boxes(
        true_boxes(truth), detected_boxes(results), category_ids=[7, 9]
    ).overall

    # 51 of the 101 recall points (0.00 to 0.50) have precision 1/2, the rest 0.
    assert overall["AP"] == pytest.approx(51 / 101 / 2)
    assert overall["AR100"] == 0.5
    assert overall["APs"] == overall["APl"] == -1.0, "there are no small and no large objects"
    assert tuple(overall) == METRIC_NAMES


@pytest.mark.parametrize("num_objects", [0, 1])
def test_no_detections_give_zero_where_there_are_objects_and_undefined_elsewhere(num_objects: int):
    box = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0}

    metrics = evaluate_boxes(
        true_boxes([box] * num_objects), detected_boxes([]), category_ids=[1, 2]
    )

    assert metrics.overall["AP"] == (0.0 if num_objects else -1.0)
    assert metrics.per_category[2]["AP"] == -1.0


def test_canonical_order_is_image_then_falling_score_then_category_then_box():
    rows = [
        {"image_id": 2, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.9},
        {"image_id": 1, "category_id": 2, "bbox": [0, 0, 1, 1], "score": 0.5},
        {"image_id": 1, "category_id": 1, "bbox": [5, 0, 1, 1], "score": 0.5},
        {"image_id": 1, "category_id": 1, "bbox": [4, 9, 1, 1], "score": 0.5},
        {"image_id": 1, "category_id": 9, "bbox": [0, 0, 1, 1], "score": 0.6},
    ]
    assert canonical_order(detected_boxes(rows)).tolist() == [4, 3, 2, 1, 0]


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_numbers_do_not_depend_on_the_order_detections_arrive_in(seed: int):
    dataset, results = random_dataset(seed, num_images=10, num_categories=2)
    truth = true_boxes(dataset["annotations"])

    def score(rows: list[Record]) -> dict[str, float]:
        found = detected_boxes(rows)
        order = canonical_order(found)
        ordered = DetectedBoxes(
            found.image_ids[order],
            found.category_ids[order],
            found.boxes[order],
            found.scores[order],
        )
        return evaluate_boxes(truth, ordered, category_ids=[1, 4]).overall

    shuffled = [results[i] for i in np.random.default_rng(seed).permutation(len(results))]
    assert score(results) == score(shuffled)


def test_nothing_is_printed_here_while_other_threads_may_print(capsys: pytest.CaptureFixture[str]):
    dataset, results = random_dataset(5, num_images=30, num_categories=4)
    stop = Event()
    printed = 0

    def talk() -> None:
        nonlocal printed
        while not stop.is_set():
            sys.stdout.write("other thread\n")
            printed += 1
            stop.wait(0.001)

    talker = Thread(target=talk)
    talker.start()
    evaluate_boxes(
        true_boxes(dataset["annotations"]), detected_boxes(results), category_ids=[1, 4, 7, 10]
    )
    stop.set()
    talker.join()

    assert capsys.readouterr().out.splitlines() == ["other thread"] * printed
