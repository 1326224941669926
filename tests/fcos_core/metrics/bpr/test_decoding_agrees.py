"""What the encoding can represent, perfect predictions give back: BPR and decoding agree."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.boxes import boxes_to_ltrb
from fcos_core.config import preset_config
from fcos_core.decoding import decode
from fcos_core.metrics.bpr import LocationRule, measure
from fcos_core.metrics.bpr.rules import FrameRule
from fcos_core.structures import GroundTruth, HeadOutputs
from fcos_core.targets import encode
from tests.fcos_core.metrics.bpr.blocks import block_of
from tests.fcos_core.test_locations import grid_of

# Coordinates in sixteenths are exact in float32, as boxes and as distances.
_HEIGHT, _WIDTH = 320, 448
_CORNERS = st.tuples(st.integers(0, _WIDTH * 16 - 8), st.integers(0, _HEIGHT * 16 - 8))
_SIDES = st.one_of(st.integers(1, 64 * 16), st.integers(1, 448 * 16))


@st.composite
def boxes_inside(draw):
    x, y = (value / 16 for value in draw(_CORNERS))
    width, height = draw(_SIDES) / 16, draw(_SIDES) / 16
    return x, y, min(width, _WIDTH - x), min(height, _HEIGHT - y)


@pytest.mark.long
@pytest.mark.parametrize("preset", ["paper", "improved", "torchvision"])
@settings(max_examples=15)
@given(boxes=st.lists(boxes_inside(), min_size=1, max_size=12), data=st.data())
def test_perfect_predictions_give_back_exactly_the_recalled_boxes(preset, boxes, data):
    labels = data.draw(st.lists(st.integers(0, 3), min_size=len(boxes), max_size=len(boxes)))
    config = preset_config(preset, 4)
    corners = torch.tensor([(x, y, x + w, y + h) for x, y, w, h in boxes])
    grid = grid_of(_HEIGHT, _WIDTH, config.encoding)
    targets = encode([GroundTruth(corners, torch.tensor(labels))], grid, config.encoding)

    # A network that predicts every target perfectly: the class, the centre-ness and the distances.
    is_positive = targets.labels[0] >= 0
    cls_logits = torch.full((1, len(grid.points), 4), -20.0)
    cls_logits[0, is_positive, targets.labels[0, is_positive]] = 20.0
    unit_px = (
        grid.strides if config.head.are_distances_normalized else torch.ones_like(grid.strides)
    )
    distances = boxes_to_ltrb(grid.points, targets.boxes[0]) / unit_px[:, None]
    outputs = HeadOutputs(
        cls_logits=cls_logits,
        distances=distances[None],
        centerness_logits=torch.logit(targets.centerness.clamp(1e-6, 1 - 1e-6))[..., None].squeeze(
            -1
        ),
        level_shapes=_shapes(grid),
    )
    # Every positive location speaks: nothing is cut off and no box silences another.
    everything = replace(
        config.decoding, score_threshold=0.0, top_k_per_level=10**6, nms_iou=1.0,
        max_detections=10**6,
    )  # fmt: skip
    found = decode(
        outputs,
        grid,
        everything,
        sizes=torch.tensor([[float(_HEIGHT), float(_WIDTH)]]),
        unit_px=unit_px,
    )
    speaks = found.scores[0] > 1e-4  # the rest has a class score of sigmoid(-20)

    rule = LocationRule(
        name="test",
        source="test",
        frame=FrameRule(
            min_size_px=_HEIGHT, max_size_px=_WIDTH, boxes="plain", precision="float32"
        ),
        encoding=config.encoding,
    )
    outcomes = measure(block_of((_HEIGHT, _WIDTH, boxes, labels)), rule)
    assert int(outcomes.num_kept.sum()) == int(is_positive.sum()) == int(speaks.sum())
    given_back = [
        bool(
            (
                ((found.boxes[0] - box).abs().amax(dim=1) < 1e-3)
                & (found.labels[0] == label)
                & speaks
            ).any()
        )
        for box, label in zip(corners, labels, strict=True)
    ]
    # A lost box may be given back by a twin of its class that is recalled, never the other way.
    for i, (is_recalled, is_found) in enumerate(
        zip(outcomes.is_recalled.tolist(), given_back, strict=True)
    ):
        twins = [
            j
            for j in range(len(boxes))
            if labels[j] == labels[i] and (corners[j] - corners[i]).abs().max() < 2e-3
        ]
        assert is_found == any(outcomes.is_recalled[j] for j in twins), i
        assert is_found or not is_recalled


def _shapes(grid):
    return tuple((1, count) for count in grid.num_per_level)
