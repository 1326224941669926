"""Rules: their limits, their frames, and that ``torchvision`` is torchvision's own matcher."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from fcos_core.config import preset_config
from fcos_core.errors import ConfigError
from fcos_core.metrics.bpr import Cause, custom_rule, measure, named_rule
from fcos_core.metrics.bpr.frames import boxes_in_frame, frames_of
from tests.fcos_core.metrics.bpr.blocks import block_of, crowded, images
from tests.fcos_core.metrics.bpr.reference import resized_size


@settings(max_examples=300)
@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from(["paper", "torchvision"]))
def test_images_are_resized_as_in_the_sources(height, width, name):
    rule = named_rule(name).frame
    frames = frames_of(np.array([[height, width]]), rule)
    assert tuple(frames.resized[0]) == resized_size(height, width, rule)
    assert (frames.padded % 32 == 0).all()
    assert ((frames.padded - frames.resized) < 32).all()


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        pytest.param((480, 640), (800, 1066), id="int() of 1066.67"),
        pytest.param(
            (100, 640), (208, 1331), id="the cap: 208.28 rounds to 208, 640 * 2.08 = 1331"
        ),
        pytest.param((640, 100), (1331, 208), id="portrait"),
        pytest.param((800, 800), (800, 800), id="as it is"),
    ],
)
def test_the_authors_resize_by_the_short_side(size, resized):
    assert tuple(frames_of(np.array([size]), named_rule("paper").frame).resized[0]) == resized


def test_legacy_boxes_end_at_their_last_pixel():
    block = block_of((800, 800, [(10, 20, 30, 40), (5, 5, 0.5, 1)], [0, 0]))
    args = (block.boxes, block.image_index, block.image_sizes)
    legacy = boxes_in_frame(*args, named_rule("paper").frame)
    assert legacy.tolist() == [[10, 20, 39, 59], [5, 5, 5, 5]]
    plain = boxes_in_frame(*args, named_rule("torchvision").frame)
    assert plain.tolist() == [[10, 20, 40, 60], [5, 5, 5.5, 6]]
    assert plain.dtype == np.float32


def torchvision_matches(image_size, boxes):
    """The box of every location, by torchvision's own transform, anchors and matcher."""
    height, width = image_size
    model = _torchvision_model()
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    images, targets = model.transform(
        [torch.zeros(3, height, width)],
        [{"boxes": corners, "labels": torch.zeros(len(corners), dtype=torch.int64)}],
    )
    padded = images.tensors.shape[-2:]
    maps = [torch.zeros(1, 1, *(math.ceil(s / stride) for s in padded)) for stride in STRIDES]
    anchors = model.anchor_generator(ImageList(images.tensors, images.image_sizes), maps)
    outputs = {"bbox_regression": torch.zeros(1, len(anchors[0]), 4)}
    model.compute_loss(targets, outputs, anchors, [m.shape[-1] * m.shape[-2] for m in maps])
    return model.head.matched[0].numpy()


STRIDES = (8, 16, 32, 64, 128)


class _KeepMatches(torch.nn.Module):
    """In the place of the head, which torchvision's matcher hands its result to."""

    def compute_loss(self, _targets, _outputs, _anchors, matched):
        self.matched = matched
        return {}


def _torchvision_model():
    backbone = torch.nn.Identity()
    backbone.out_channels = 1
    anchors = AnchorGenerator(tuple((stride,) for stride in STRIDES), ((1.0,),) * 5)
    return FCOS(backbone, 2, anchor_generator=anchors, head=_KeepMatches())


@settings(max_examples=40)
@given(image=images())
def test_the_torchvision_rule_is_torchvisions_own_matcher(image):
    height, width, boxes, labels = image
    boxes = [box for box in boxes if box[2] > 0.1 and box[3] > 0.1]  # it refuses boxes without area
    assert_matches_torchvision((height, width), boxes, labels[: len(boxes)])


def test_a_crowd_is_matched_as_by_torchvision():
    height, width, boxes, labels = crowded(400, seed=4)
    assert_matches_torchvision((height, width), boxes, labels)


def assert_matches_torchvision(size, boxes, labels):
    outcomes = measure(block_of((*size, boxes, labels)), named_rule("torchvision"))
    if not boxes:
        return
    matched = torchvision_matches(size, boxes)
    kept = np.bincount(matched[matched >= 0], minlength=len(boxes))
    assert outcomes.num_kept.sum(axis=1).tolist() == kept.tolist()
    assert (outcomes.causes == Cause.RECALLED).tolist() == (kept > 0).tolist()


def test_presets_and_rules_encode_alike():
    for name in ("paper", "improved", "torchvision"):
        assert preset_config(name, 80).encoding == named_rule(name).encoding


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": [8, 0]}, "strides (8, 0): every one must be at least 1 px"),
        ({"min_size_px": 0}, "min size 0: must be at least 1 px"),
        (
            {"min_size_px": 800, "max_size_px": 700},
            "max size 700: must be at least the min size, 800",
        ),
        ({"size_ranges": [(0.0, 64.0)]}, "5 strides, 1 size ranges: the numbers must be equal"),
        ({"strides": [8], "size_ranges": [(64.0, 64.0)]}, "size range (64.0, 64.0): the lower end"),
        ({"center_radius": 0.0}, "center_radius 0.0: must be > 0"),
    ],
)
def test_impossible_rules_are_refused(options, message):
    with pytest.raises(ConfigError) as error:
        custom_rule(**options)
    assert message in str(error.value)


def test_an_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="rule 'papr': must be one of paper, paper-p4, improved"):
        named_rule("papr")


def test_a_custom_rule_without_options_is_the_papers():
    assert custom_rule().encoding == named_rule("paper").encoding
    assert custom_rule().frame == named_rule("paper").frame
    assert custom_rule(strides=[16, 32]).encoding.size_ranges == ((-1, 128), (128, math.inf))
