"""However the images are cut into blocks, and whatever their order, every array is the same."""

import json
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from fcos_core.metrics.coco import Curves
from tests.fcos_core.metrics.judge import (
    Record,
    detected_boxes,
    differing,
    in_blocks,
    plain_pycocotools,
    true_boxes,
)
from tests.fcos_core.metrics.random_coco import random_coco

NUM_BLOCKS = (1, 2, 7, 50)
AT_ONCE = 50
SEEDS_ALONE = range(24)
SEEDS_IN_CI = range(300)
SEEDS_WHEN_SLOW = range(300, 6_000)
PARTS = 2
# Ids of a dataset scored together with others begin at its number times this.
ID_STEP = 10**9


def differences(pairs: list[tuple[Record, list[Record]]], seed: int) -> list[str]:
    """Score datasets together, in blocks of images of any of them, and judge each on its own.

    A category's arrays depend on its own boxes alone, so those of a dataset must be the bits that
    pycocotools gives for it alone, and its twelve numbers must follow from them.

    Args:
        pairs: datasets and their results.
        seed: of the order in which images are dealt out to blocks.

    Returns:
        What differs, and where.
    """
    judges = [plain_pycocotools(*pair) for pair in pairs]
    apart = [_apart(*pair, ID_STEP * i) for i, pair in enumerate(pairs)]
    truth = true_boxes([one for dataset, _ in apart for one in dataset["annotations"]])
    found = detected_boxes([one for _, results in apart for one in results])
    category_ids = _ids(apart, "categories")
    image_ids = _ids(apart, "images")
    random = np.random.default_rng(seed)
    wrong: list[str] = []
    for num_blocks in NUM_BLOCKS:
        blocks = np.array_split(random.permutation(image_ids), num_blocks)
        curves = in_blocks(truth, found, category_ids, image_ids, blocks)
        for i, judge in enumerate(judges):
            own = np.searchsorted(category_ids, [ID_STEP * i, ID_STEP * (i + 1)])
            k = slice(*own.tolist())
            part = Curves(curves.precision[:, :, k], curves.recall[:, k], curves.scores[:, :, k])
            wrong += [f"{name} of {i}, {num_blocks} blocks" for name in differing(part, judge)]
    return wrong


def _apart(dataset: Record, results: list[Record], start: int) -> tuple[Record, list[Record]]:
    def moved(records: list[Record], *names: str) -> list[Record]:
        return [one | {name: one[name] + start for name in names} for one in records]

    whole = {
        "images": moved(dataset["images"], "id"),
        "annotations": moved(dataset["annotations"], "image_id", "category_id"),
        "categories": moved(dataset["categories"], "id"),
    }
    return whole, moved(results, "image_id", "category_id")


def _ids(pairs: list[tuple[Record, list[Record]]], of_what: str) -> np.ndarray:
    return np.array(sorted(one["id"] for dataset, _ in pairs for one in dataset[of_what]), np.int64)


def _parts(seeds: range) -> list[range]:
    return [seeds[i::PARTS] for i in range(PARTS)]


def assert_same(seeds: range) -> None:
    for first in range(0, len(seeds), AT_ONCE):
        some = seeds[first : first + AT_ONCE]
        wrong = differences([random_coco(seed) for seed in some], seeds[first])
        assert not wrong, f"counted from 0 in {some}: {'; '.join(wrong)}"


@pytest.fixture
def _without_shape_checks() -> Generator[None]:
    """They take two thirds of the time; the datasets that are scored one by one go through them."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)  # noqa: FBT003 (its own signature)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.mark.long
@pytest.mark.usefixtures("_without_shape_checks")
@pytest.mark.parametrize("seeds", _parts(SEEDS_IN_CI), ids=str)
def test_random_datasets_in_1_2_7_and_50_blocks_have_the_bits_of_pycocotools(
    seeds: range,
):
    assert_same(seeds)


@pytest.mark.slow
@pytest.mark.usefixtures("_without_shape_checks")
@pytest.mark.parametrize("seeds", _parts(SEEDS_WHEN_SLOW), ids=str)
def test_thousands_more_random_datasets_in_any_blocks_have_the_bits_of_pycocotools(seeds: range):
    assert_same(seeds)


@pytest.mark.long
def test_random_datasets_scored_one_by_one_have_the_bits_of_pycocotools():
    for seed in SEEDS_ALONE:
        assert differences([random_coco(seed)], seed) == [], f"seed {seed}"


def test_published_results_in_1_2_7_and_50_blocks_have_the_bits_of_pycocotools(shared_data: Path):
    folder = shared_data / "coco_results"
    dataset = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    assert differences([(dataset, results)], seed=0) == []


def test_the_random_datasets_have_every_kind_of_awkward_case():
    seen: Counter[str] = Counter()
    for seed in SEEDS_IN_CI[:240]:
        dataset, results = random_coco(seed)
        annotations = dataset["annotations"]
        images = {one["id"] for one in dataset["images"]}
        listed = {one["id"] for one in dataset["categories"]}
        per_lane = Counter((one["image_id"], one["category_id"]) for one in results)
        per_image_and_score = Counter((one["image_id"], one["score"]) for one in results)
        seen["no objects"] += not annotations
        seen["no detections"] += not results
        seen["more images than blocks"] += len(images) > max(NUM_BLOCKS)
        seen["fewer images than blocks"] += 1 < len(images) < 7
        seen["images without objects"] += bool(images - {one["image_id"] for one in annotations})
        seen["images without detections"] += bool(images - {one["image_id"] for one in results})
        seen["category never annotated"] += bool(listed - {a["category_id"] for a in annotations})
        seen["category never detected"] += bool(listed - {r["category_id"] for r in results})
        seen["object of no listed category"] += any(
            one["category_id"] not in listed for one in annotations
        )
        seen["detection of no listed category"] += any(
            one["category_id"] not in listed for one in results
        )
        seen["annotation id 0"] += any(one["id"] == 0 for one in annotations)
        seen["crowds"] += any(one["iscrowd"] for one in annotations)
        seen["ignore without crowd"] += any(
            one["ignore"] and not one["iscrowd"] for one in annotations
        )
        for edge in (0.0, 32.0**2, 96.0**2, 1e10):
            seen[f"object of area {edge:g}"] += any(one["area"] == edge for one in annotations)
        seen["object beyond the largest area"] += any(one["area"] > 1e10 for one in annotations)
        seen["detection of no area"] += any(0.0 in one["bbox"][2:] for one in results)
        seen["detection of area 1024"] += any(
            one["bbox"][2] * one["bbox"][3] == 32.0**2 for one in results
        )
        seen["over 100 of an image and category"] += any(count > 100 for count in per_lane.values())
        seen["equal scores"] += any(count > 1 for count in per_image_and_score.values())
    assert {kind: count for kind, count in seen.items() if count < 3} == {}
