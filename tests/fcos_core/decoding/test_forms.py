"""Both forms of decoding find what its definition finds, bit by bit, at every batch size."""

from dataclasses import replace

import pytest
import torch

from fcos_core.config import preset_config
from fcos_core.decoding import DecodedBatch, decode_again
from fcos_core.decoding import fixed as fixed_module
from fcos_core.decoding.exact import decode_exact
from fcos_core.decoding.fixed import decode_fixed
from fcos_core.structures import HeadOutputs
from tests.fcos_core.decoding.outputs import one_image, random_outputs, slow_decode
from tests.fcos_core.dispatches import Dispatches

PRESETS = ("paper", "improved", "torchvision")
SHAPES = ((64, 96), (128, 128), (32, 256), (160, 224))
BATCH_SIZES = (1, 3, 8, 32)
THRESHOLDS = (0.05, 0.2)


def assert_equal(found: DecodedBatch, expected: DecodedBatch) -> None:
    """Bit by bit, on the first ``counts`` places of each image."""
    assert torch.equal(found.counts, expected.counts)
    for i, count in enumerate(expected.counts.tolist()):
        for name in ("boxes", "scores", "labels"):
            ours, theirs = getattr(found, name)[i, :count], getattr(expected, name)[i, :count]
            assert torch.equal(ours, theirs), (name, i)


def assert_forms_agree(seed, *, num_images, threshold, is_fixed_checked=True, **changes):
    """Compare the forms with the definition on random outputs of a shape and preset by seed."""
    step = changes.pop("step", 0.0)
    num_classes = (1, 3, 20, 91)[seed % 4]
    config = preset_config(PRESETS[seed % 3], num_classes)
    outputs, grid, sizes = random_outputs(
        seed, num_images=num_images, shape=SHAPES[seed // 3 % 4], config=config, step=step
    )
    decoding = replace(config.decoding, score_threshold=threshold, **changes)
    located = {"sizes": sizes, "unit_px": grid.strides}
    expected = slow_decode(outputs, grid, decoding, **located)
    assert_equal(decode_exact(outputs, grid, decoding, **located), expected)
    if not is_fixed_checked:
        return 0, 0
    found = decode_fixed(outputs, grid, decoding, **located)
    at = found.is_exact
    assert_equal(_images(found, at), _images(expected, at))
    return int(expected.counts.sum()), int(at.sum())


def _images(batch, at):
    return DecodedBatch(
        batch.boxes[at], batch.scores[at], batch.labels[at], batch.counts[at], batch.is_exact[at]
    )


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("num_images", BATCH_SIZES)
def test_both_forms_find_what_the_definition_finds(num_images, threshold):
    num_found = num_exact = 0
    for seed in {1: range(12), 3: range(6), 8: (3, 11), 32: (7,)}[num_images]:
        found, exact = assert_forms_agree(seed, num_images=num_images, threshold=threshold)
        num_found += found
        num_exact += exact
    assert num_found > 10 * num_images
    assert num_exact >= num_images


@pytest.mark.slow
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("num_images", BATCH_SIZES)
def test_both_forms_find_what_the_definition_finds_in_a_thousand_batches(num_images, threshold):
    for seed in range(1000, 1125):
        # On a CPU the fixed form takes a hundred times as long.
        is_fixed_checked = seed % num_images == 0
        assert_forms_agree(
            seed, num_images=num_images, threshold=threshold, is_fixed_checked=is_fixed_checked
        )


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"top_k_per_level": 7}, id="levels_larger_than_top_k"),
        pytest.param({"top_k_per_level": 50, "step": 0.5}, id="equal_scores"),
        pytest.param({"top_k_per_level": 3, "step": 4.0}, id="nearly_all_scores_equal"),
        pytest.param({"score": "product"}, id="product"),
        pytest.param({"score": "product", "threshold_on": "classification"}, id="product_cls"),
        pytest.param({"threshold_on": "classification", "top_k_per_level": 20}, id="cls"),
        pytest.param({"max_detections": 3}, id="few_wanted"),
        pytest.param({"max_detections": 5000}, id="all_wanted"),
        pytest.param({"threshold": 0.0}, id="no_threshold"),
        pytest.param({"threshold": 0.999}, id="high_threshold"),
        pytest.param({"threshold": 0.9999999}, id="nothing_passes"),
    ],
)
def test_both_forms_hold_for_every_setting(changes):
    threshold = changes.get("threshold", 0.05)
    rest = {name: value for name, value in changes.items() if name != "threshold"}
    for seed in range(3):
        assert_forms_agree(seed, num_images=2, threshold=threshold, **rest)


def test_of_equal_scores_the_pair_with_the_smaller_number_is_better():
    config = preset_config("improved", 3)
    outputs, grid, sizes = random_outputs(0, num_images=1, shape=(128, 128), config=config)
    outputs.cls_logits.fill_(1.0)
    outputs.cls_logits[0, 40:256] = -20.0  # the rest of P3
    outputs.centerness_logits.fill_(1.0)
    outputs.distances.fill_(0.01)  # tiny boxes: NMS drops nothing
    decoding = replace(config.decoding, top_k_per_level=4, max_detections=6)
    for form in (decode_exact, decode_fixed):
        found = form(outputs, grid, decoding, sizes=sizes, unit_px=grid.strides)
        assert found.labels[0, :6].tolist() == [0, 1, 2, 0, 0, 1]
        # Three classes of the first location of P3, one of the second, then P4's first.
        x = found.boxes[0, :6, 0::2].mean(dim=1).tolist()
        assert x == pytest.approx([4, 4, 4, 12, 8, 8])


@pytest.mark.parametrize("num_threads", [1, 2, 4])
@pytest.mark.parametrize("threshold", [0.0, 0.05])
def test_an_image_has_the_same_bits_at_every_place_of_every_batch(num_threads, threshold):
    config = preset_config("torchvision", 91)
    outputs, grid, sizes = random_outputs(5, num_images=32, shape=(96, 160), config=config)
    decoding = replace(config.decoding, score_threshold=threshold)
    located = {"sizes": sizes, "unit_px": grid.strides}
    expected = slow_decode(outputs, grid, decoding, **located)
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        for size in BATCH_SIZES:
            for start in (0, 8, 32 - size)[: 1 if size == 32 else 3]:
                part = slice(start, start + size)
                batch = HeadOutputs(
                    outputs.cls_logits[part],
                    outputs.distances[part],
                    outputs.centerness_logits[part],
                    (),
                )
                found = decode_exact(batch, grid, decoding, sizes=sizes[part], unit_px=grid.strides)
                assert_equal(found, _images(expected, part))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)]
)
def test_logits_in_half_precision_near_the_bound_are_not_lost(dtype):
    """Half precision rounds the bound, which may rise above logits that pass."""
    config = preset_config("torchvision", 91)
    outputs, grid, sizes = random_outputs(2, num_images=3, shape=(128, 128), config=config)
    half = HeadOutputs(
        outputs.cls_logits.to(dtype),
        outputs.distances.to(dtype),
        (outputs.centerness_logits + 12).to(dtype),  # centre-ness is nearly 1: the bound decides
        (),
    )
    located = {"sizes": sizes, "unit_px": grid.strides}
    for threshold in torch.linspace(0.02, 0.9, 20).tolist():
        decoding = replace(config.decoding, score_threshold=threshold, max_detections=10**4)
        expected = slow_decode(half, grid, decoding, **located)
        for form in (decode_exact, decode_fixed):
            found = form(half, grid, decoding, **located)
            again = decode_again(found, half, grid, decoding, **located)
            assert_equal(again, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_image_that_is_not_finite_changes_no_other_image(value):
    config = preset_config("torchvision", 3)
    outputs, grid, sizes = random_outputs(3, num_images=3, shape=(128, 128), config=config)
    located = {"sizes": sizes, "unit_px": grid.strides}
    expected = slow_decode(outputs, grid, config.decoding, **located)
    for tensor in (outputs.cls_logits, outputs.distances, outputs.centerness_logits):
        tensor[1].view(-1)[::7] = value
    at = torch.tensor([0, 2])
    for form in (decode_exact, decode_fixed):
        found = form(outputs, grid, config.decoding, **located)
        assert found.is_exact[at].all()
        assert_equal(_images(found, at), _images(expected, at))


def chain_of_boxes(length):
    """Outputs of two images, the first with boxes each of which overlaps only the next enough."""
    config = preset_config("torchvision", 1)
    outputs, grid, sizes = random_outputs(0, num_images=2, shape=(32, 1024), config=config)
    outputs.cls_logits.fill_(-20.0)
    outputs.centerness_logits.fill_(8.0)
    outputs.distances.fill_(2.0)  # 32 px wide, 8 px apart on P3: IoU of neighbours 0.6
    outputs.cls_logits[0, :length, 0] = torch.linspace(4, 2, length)
    outputs.cls_logits[1, 0, 0] = 4.0
    decoding = replace(config.decoding, nms_iou=0.55)
    return outputs, grid, decoding, {"sizes": sizes, "unit_px": grid.strides}


@pytest.mark.parametrize(("length", "is_exact"), [(8, True), (100, False)])
def test_a_chain_longer_than_the_rounds_is_reported(length, is_exact):
    outputs, grid, decoding, located = chain_of_boxes(length)
    expected = slow_decode(outputs, grid, decoding, **located)
    assert expected.counts.tolist() == [length // 2, 1]
    found = decode_fixed(outputs, grid, decoding, **located)
    assert found.is_exact.tolist() == [is_exact, True]
    again = decode_again(found, outputs, grid, decoding, **located)
    assert again.is_exact.all()
    assert_equal(again, expected)


def test_more_candidates_than_the_limit_are_reported_unless_the_best_suffice(monkeypatch):
    monkeypatch.setattr(fixed_module, "MOST_CANDIDATES", 40)
    config = preset_config("torchvision", 3)
    outputs, grid, sizes = random_outputs(0, num_images=2, shape=(128, 128), config=config)
    outputs.cls_logits.fill_(-20.0)
    outputs.cls_logits[0, :60, 0] = torch.linspace(3, 1, 60)
    outputs.cls_logits[1, :40, 0] = torch.linspace(3, 1, 40)
    outputs.distances.fill_(0.01)
    located = {"sizes": sizes, "unit_px": grid.strides}
    for wanted, is_exact in ((100, False), (41, False), (40, True)):
        decoding = replace(config.decoding, max_detections=wanted)
        found = decode_fixed(outputs, grid, decoding, **located)
        assert found.is_exact.tolist() == [is_exact, True]
        again = decode_again(found, outputs, grid, decoding, **located)
        assert_equal(again, slow_decode(outputs, grid, decoding, **located))


def test_locations_that_score_alike_where_a_level_is_cut_are_reported():
    config = preset_config("torchvision", 1)
    outputs, grid, sizes = random_outputs(0, num_images=2, shape=(256, 256), config=config)
    outputs.cls_logits[0] = 1.0
    outputs.centerness_logits[0] = 1.0
    decoding = replace(config.decoding, top_k_per_level=20)
    located = {"sizes": sizes, "unit_px": grid.strides}
    found = decode_fixed(outputs, grid, decoding, **located)
    assert found.is_exact.tolist() == [False, True]
    again = decode_again(found, outputs, grid, decoding, **located)
    assert_equal(again, slow_decode(outputs, grid, decoding, **located))


@pytest.mark.parametrize(
    ("num_images", "threshold", "most", "most_fixed"),
    [(8, 0.2, 22, 18), (8, 0.05, 27, 21), (32, 0.2, 22, 6)],
)
def test_few_operations_are_dispatched_per_image(num_images, threshold, most, most_fixed):
    config = preset_config("torchvision", 91)
    outputs, grid, sizes = random_outputs(1, num_images=num_images, shape=(320, 320), config=config)
    decoding = replace(config.decoding, score_threshold=threshold)
    located = {"sizes": sizes, "unit_px": grid.strides}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            with Dispatches() as exact:
                decode_exact(outputs, grid, decoding, **located)
            with Dispatches(is_waiting_refused=True) as fixed:
                decode_fixed(outputs, grid, decoding, **located)
            with (
                pytest.raises(AssertionError, match="waits for the device"),
                Dispatches(is_waiting_refused=True),
            ):
                decode_exact(outputs, grid, decoding, **located)
    finally:
        torch.set_num_threads(before)
    assert 8 < exact.total <= most * num_images
    assert 8 < fixed.total <= most_fixed * num_images


def test_a_batch_without_images_stays_one():
    config = preset_config("torchvision", 3)
    outputs, grid, sizes = random_outputs(0, num_images=1, shape=(64, 64), config=config)
    none = HeadOutputs(
        outputs.cls_logits[:0], outputs.distances[:0], outputs.centerness_logits[:0], ()
    )
    found = decode_exact(none, grid, config.decoding, sizes=sizes[:0], unit_px=grid.strides)
    assert found.boxes.shape == (0, 0, 4)


def test_an_image_alone_is_what_it_is_in_its_batch_also_in_the_fixed_form():
    config = preset_config("torchvision", 20)
    outputs, grid, sizes = random_outputs(7, num_images=3, shape=(128, 128), config=config)
    together = decode_fixed(outputs, grid, config.decoding, sizes=sizes, unit_px=grid.strides)
    for i in range(3):
        alone = decode_fixed(
            one_image(outputs, i), grid, config.decoding,
            sizes=sizes[i : i + 1], unit_px=grid.strides,
        )  # fmt: skip
        assert_equal(alone, _images(together, torch.tensor([i])))
