import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fcos_core.config import DecodingConfig, preset_config
from fcos_core.decoding import decode
from fcos_core.decoding.exact import suppress
from fcos_core.decoding.structures import Candidates
from fcos_core.structures import GroundTruth, HeadOutputs
from fcos_core.targets import encode
from tests.fcos_core.reference import slow_nms
from tests.fcos_core.test_locations import grid_of
from tests.fcos_core.test_targets import boxes_strategy

PRESETS = ("paper", "improved", "torchvision")


def outputs_for(grid, *, num_classes=3, num_images=1):
    count = len(grid.points)
    return HeadOutputs(
        cls_logits=torch.full((num_images, count, num_classes), -20.0),
        distances=torch.ones(num_images, count, 4),
        centerness_logits=torch.zeros(num_images, count),
        level_shapes=(),
    )


def run_decode(outputs, grid, config, size=(128, 128)):
    sizes = torch.tensor([size] * len(outputs.cls_logits), dtype=torch.float32)
    return decode(outputs, grid, config, sizes=sizes, unit_px=grid.strides)


@pytest.fixture
def grid():
    return grid_of(128, 128, preset_config("improved", 3).encoding)


def test_score_is_the_root_of_classification_times_centerness(grid):
    outputs = outputs_for(grid)
    outputs.cls_logits[0, 5, 1] = math.log(0.8 / 0.2)
    outputs.centerness_logits[0, 5] = math.log(0.5 / 0.5)
    for formula, expected in (("sqrt", math.sqrt(0.4)), ("product", 0.4)):
        found = run_decode(outputs, grid, DecodingConfig(score=formula))
        assert found.counts.tolist() == [1]
        assert found.scores[0, 0].item() == pytest.approx(expected, abs=1e-6)
        assert found.labels[0, 0] == 1


@pytest.mark.parametrize(
    ("threshold_on", "count"),
    [
        pytest.param("classification", 1, id="0.06 passes 0.05 alone"),
        pytest.param("score", 0, id="root of 0.06 x 0.02 = 0.035 does not"),
    ],
)
def test_the_threshold_precedes_or_follows_centerness(grid, threshold_on, count):
    outputs = outputs_for(grid)
    outputs.cls_logits[0, 5, 1] = math.log(0.06 / 0.94)
    outputs.centerness_logits[0, 5] = math.log(0.02 / 0.98)
    config = DecodingConfig(threshold_on=threshold_on, score_threshold=0.05)
    assert run_decode(outputs, grid, config).counts.tolist() == [count]


def test_a_score_equal_to_the_threshold_is_dropped(grid):
    outputs = outputs_for(grid)
    outputs.cls_logits[0, 5, 1] = 0.0
    outputs.centerness_logits[0, 5] = 40.0
    config = DecodingConfig(score="product", score_threshold=0.5)
    assert run_decode(outputs, grid, config).counts.tolist() == [0]


def test_top_k_is_taken_per_level_over_all_classes(grid):
    outputs = outputs_for(grid, num_classes=3)
    outputs.cls_logits[0, :256] = torch.linspace(0, 3, 256 * 3).reshape(256, 3)  # all of P3
    outputs.cls_logits[0, 256] = torch.tensor([-1.0, -1.0, -1.0])  # the first of P4
    outputs.distances.fill_(0.01)  # tiny boxes: NMS drops nothing
    found = run_decode(outputs, grid, DecodingConfig(top_k_per_level=5, max_detections=100))
    assert found.counts.tolist() == [8]
    assert found.labels[0, :5].tolist() == [2, 1, 0, 2, 1]


def test_at_most_max_detections_are_kept_and_they_are_the_best(grid):
    outputs = outputs_for(grid)
    outputs.cls_logits[0, :256, 0] = torch.linspace(0, 3, 256)
    outputs.distances.fill_(0.01)
    found = run_decode(outputs, grid, DecodingConfig(max_detections=10))
    assert found.counts.tolist() == [10]
    assert found.boxes[0, 0, :2].tolist() == pytest.approx([124 - 0.08, 124 - 0.08], abs=1e-4)
    assert torch.equal(found.scores[0], found.scores[0].sort(descending=True).values)


def test_boxes_are_clipped_to_the_image_inside_its_padding(grid):
    outputs = outputs_for(grid)
    outputs.cls_logits[0, 5, 1] = 5.0
    outputs.distances[0, 5] = 1000.0
    found = run_decode(outputs, grid, DecodingConfig(), size=(100, 90))
    assert found.boxes[0, 0].tolist() == [0, 0, 90, 100]


def test_images_of_a_batch_do_not_suppress_each_other(grid):
    outputs = outputs_for(grid, num_images=3)
    outputs.cls_logits[0, 5, 1] = 5.0
    outputs.cls_logits[2, 5, 1] = 4.0
    found = run_decode(outputs, grid, DecodingConfig())
    assert found.counts.tolist() == [1, 0, 1]


def test_no_candidate_at_all_gives_empty_detections(grid):
    found = run_decode(outputs_for(grid, num_images=2), grid, DecodingConfig())
    assert found.counts.tolist() == [0, 0]
    assert found.boxes.shape == (2, 0, 4)


def test_half_precision_outputs_are_decoded_in_float32(grid):
    outputs = outputs_for(grid, num_classes=91)
    outputs.cls_logits[0, 200, 90] = 3.0
    outputs.cls_logits[0, 201, 90] = 2.0
    half = HeadOutputs(
        outputs.cls_logits.bfloat16(),
        outputs.distances.bfloat16(),
        outputs.centerness_logits.bfloat16(),
        (),
    )
    full, low = (run_decode(o, grid, DecodingConfig()) for o in (outputs, half))
    assert low.boxes.dtype == torch.float32
    torch.testing.assert_close(low.boxes, full.boxes, rtol=0, atol=0)


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 60),
    num_classes=st.sampled_from([1, 3, 91]),
    max_detections=st.sampled_from([3, 10, 100]),
)
def test_suppression_equals_the_slow_loop(seed, count, num_classes, max_detections):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + 10 + torch.rand(count, 2, generator=generator) * 40], dim=1)
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(num_classes, (count,), generator=generator)
    config = DecodingConfig(max_detections=max_detections)
    kept = suppress(
        Candidates(boxes, scores, labels, (0, count)), config, sizes=torch.full((2, 2), 120.0)
    )
    expected = slow_nms(boxes, scores, labels, 0.6)[:max_detections]
    assert kept.counts.tolist() == [0, len(expected)]
    assert torch.equal(kept.boxes[1], boxes[expected])
    assert torch.equal(kept.labels[1], labels[expected])


@given(boxes=boxes_strategy, preset=st.sampled_from(PRESETS))
def test_decoding_undoes_encoding_for_every_assigned_box(boxes, preset):
    config = preset_config(preset, 6).encoding
    grid = grid_of(256, 256, config)
    tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4).clamp(0, 256)
    tensor = tensor[((tensor[:, 2] > tensor[:, 0]) & (tensor[:, 3] > tensor[:, 1]))]
    targets = encode([GroundTruth(tensor, torch.arange(len(tensor)))], grid, config)
    outputs = outputs_for(grid, num_classes=6)
    positive = (targets.labels[0] >= 0).nonzero()[:, 0]
    outputs.cls_logits[0, positive, targets.labels[0, positive]] = 20.0
    points, matched = grid.points[positive], targets.boxes[0, positive]
    ltrb = torch.cat([points - matched[:, :2], matched[:, 2:] - points], dim=1)
    outputs.distances[0, positive] = ltrb / grid.strides[positive, None]
    found = run_decode(outputs, grid, DecodingConfig(), size=(256, 256))
    assigned = set(targets.labels[0, positive].tolist())
    by_label = dict(zip(found.labels[0].tolist(), found.boxes[0], strict=True))
    assert set(by_label) == assigned
    for label, box in by_label.items():
        torch.testing.assert_close(box, tensor[label], rtol=0, atol=1e-3)
