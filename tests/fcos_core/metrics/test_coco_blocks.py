"""However the images are cut into blocks, and whatever their order, every array is the same."""

import numpy as np
import pytest

from fcos_core.metrics.coco import (
    METRIC_NAMES,
    DetectedBoxes,
    Settings,
    TrueBoxes,
    match,
    metrics_of,
    pack,
    unpacked,
)
from tests.fcos_core.metrics.test_coco import (
    detected_boxes,
    plain_pycocotools,
    random_dataset,
    true_boxes,
)


def only(columns, chosen):
    return type(columns)(*(getattr(columns, name)[chosen] for name in columns.__dataclass_fields__))


def in_blocks(truth: TrueBoxes, found: DetectedBoxes, category_ids, blocks):
    """Evaluate as a cluster does: every block alone, packed, then category by category."""
    image_ids = np.union1d(truth.image_ids, found.image_ids)
    packed = [
        pack(
            match(
                only(truth, np.isin(truth.image_ids, block)),
                only(found, np.isin(found.image_ids, block)),
                category_ids,
                Settings(),
                image_ids=image_ids,
            )
        )
        for block in blocks
    ]
    return metrics_of(unpacked(packed), category_ids.tolist(), Settings())


@pytest.mark.parametrize("num_blocks", [1, 2, 7, 50])
@pytest.mark.parametrize("seed", range(4))
def test_any_number_of_blocks_gives_the_arrays_of_pycocotools(num_blocks, seed):
    dataset, results = random_dataset(seed, num_images=60, num_categories=5)
    judge = plain_pycocotools(dataset, results)
    truth, found = true_boxes(dataset["annotations"]), detected_boxes(results)
    category_ids = np.array(sorted(c["id"] for c in dataset["categories"]), np.int64)
    random = np.random.default_rng(seed)
    images = random.permutation(np.union1d(truth.image_ids, found.image_ids))
    metrics = in_blocks(truth, found, category_ids, np.array_split(images, num_blocks))
    assert np.array_equal(metrics.curves.precision, judge.eval["precision"])
    assert np.array_equal(metrics.curves.recall, judge.eval["recall"])
    assert np.array_equal(metrics.curves.scores, judge.eval["scores"])
    assert [metrics.overall[name] for name in METRIC_NAMES] == judge.stats.tolist()
