import numpy as np
import pytest
import torch

from fcos_core import Predictor
from fcos_core.errors import ConfigError, DeviceError, ImageError, NotFiniteError
from fcos_core.predictor import device_errors
from tests.fcos_core.models import small_model


def random_image(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width])


@pytest.fixture(scope="module")
def model():
    return small_model("torchvision")


SHAPES = [(64, 64), (64, 96), (96, 64), (50, 50), (64, 90), (200, 10), (1, 1), (64, 64), (70, 100)]


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs)
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=0, atol=1e-3)
        assert torch.equal(ours.labels, theirs.labels)


@pytest.mark.parametrize("batch_size", [2, 3, 8])
def test_detections_do_not_depend_on_the_other_images_of_the_batch(model, batch_size):
    images = [random_image(*shape, seed=i) for i, shape in enumerate(SHAPES)]
    alone = [Predictor(model, device="cpu", batch_size=1)([image])[0] for image in images]
    assert sum(map(len, alone)) > 50
    assert_same(Predictor(model, device="cpu", batch_size=batch_size)(images), alone)


def test_a_batch_filled_with_zeros_or_images_gives_the_same_bits(model):
    predictor = Predictor(model, device="cpu", batch_size=4)
    first = random_image(64, 64, seed=1)
    (alone,) = predictor([first])
    together = predictor([first, random_image(64, 64, seed=2), random_image(64, 64, seed=3)])
    assert torch.equal(alone.boxes, together[0].boxes)
    assert torch.equal(alone.scores, together[0].scores)


def test_boxes_lie_inside_the_image_in_its_own_pixels(model):
    for shape in ((200, 100), (30, 90)):
        (found,) = Predictor(model, device="cpu")([random_image(*shape)])
        assert len(found) > 0
        height, width = shape
        assert found.boxes[:, [0, 2]].min() >= 0
        assert found.boxes[:, [1, 3]].min() >= 0
        assert found.boxes[:, [0, 2]].max() <= width * (1 + 1e-6)
        assert found.boxes[:, [1, 3]].max() <= height * (1 + 1e-6)
        assert found.boxes[:, [0, 2]].max() > width / 2


def test_swapping_red_and_blue_changes_the_input_as_a_swap_of_channels():
    """A model that looks at red alone sees a red square, and nothing where it came as BGR."""
    model = small_model("torchvision")
    with torch.no_grad():
        model.backbone.body.conv1.weight[:, 1:] = 0
    predictor = Predictor(model, device="cpu", score_threshold=0.0)
    red = np.zeros((64, 64, 3), dtype=np.uint8)
    red[16:48, 16:48, 0] = 255
    blue, black = red[..., ::-1].copy(), np.zeros_like(red)
    found_red, found_blue, found_black = (predictor([image])[0] for image in (red, blue, black))
    assert torch.equal(found_blue.scores, found_black.scores)
    assert not torch.equal(found_red.scores, found_black.scores)


def test_no_images_give_no_detections(model):
    assert Predictor(model, device="cpu")([]) == []


def test_read_only_and_strided_arrays_are_accepted(model):
    image = random_image(64, 64)
    frozen = image.copy()
    frozen.setflags(write=False)
    predictor = Predictor(model, device="cpu")
    assert_same(predictor([frozen, image[:, ::-1]]), predictor([image, image[:, ::-1].copy()]))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_gives_nearly_the_same_detections(model, precision):
    image = random_image(64, 96)
    (full,) = Predictor(model, device="cpu")([image])
    (half,) = Predictor(model, device="cpu", precision=precision)([image])
    # bf16 keeps 8 bits: scores within a few hundredths; the decoded boxes are float32.
    count = min(len(full), len(half), 5)
    assert count == 5
    torch.testing.assert_close(half.scores[:count], full.scores[:count], rtol=0, atol=0.05)
    assert half.boxes.dtype == torch.float32


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), dtype=np.uint8),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((0, 4, 3), dtype=np.uint8),
    ],
    ids=["gray", "alpha", "float", "empty"],
)
def test_an_array_that_is_not_an_rgb_image_is_refused(model, image):
    with pytest.raises(ImageError, match="image 0: "):
        Predictor(model, device="cpu")([image])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "int8"}, "precision 'int8'"),
        ({"engine": "magic"}, "engine 'magic'"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"score_threshold": 1.5}, "score_threshold 1.5"),
        ({"device": "warp"}, "device 'warp'"),
    ],
)
def test_settings_out_of_their_limits_are_named(model, settings, message):
    with pytest.raises(ConfigError, match=message):
        Predictor(model, **settings)


@pytest.mark.gpu
def test_a_cuda_device_gives_the_same_detections():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    images = [random_image(*shape, seed=i) for i, shape in enumerate(SHAPES)]
    on_cpu = Predictor(small_model("torchvision"), device="cpu")(images)
    on_gpu = Predictor(small_model("torchvision"), device="cuda", batch_size=4)(images)
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        assert len(ours) == len(theirs)
        # Other kernels, other rounding: 1e-2 px and 1e-4.
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=0, atol=1e-4)
        torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=0, atol=1e-2)


@pytest.mark.parametrize("output", ["cls_logits", "distances", "centerness_logits"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_outputs_that_are_not_finite_are_an_error_and_not_an_empty_image(
    model, monkeypatch, output, value
):
    predictor = Predictor(model, device="cpu", batch_size=4)
    forward = model.forward

    def forward_with_one_bad_value(pixels):
        outputs = forward(pixels)
        getattr(outputs, output)[1].view(-1)[7] = value
        return outputs

    monkeypatch.setattr(model, "forward", forward_with_one_bad_value)
    images = [random_image(64, 64, seed=i) for i in range(3)]
    with pytest.raises(NotFiniteError, match=r"^image 1 of 3: .*not all finite \(fp32\)"):
        predictor.predict_batch(images)
    assert len(predictor.predict_batch(images[:1])) == 1  # the bad one only fills the batch up


def test_errors_of_a_failed_device_are_distinguished_from_bugs():
    for error in (RuntimeError("CUDA error: x"), torch.AcceleratorError("assert")):
        with pytest.raises(DeviceError), device_errors():
            raise error
    for error in (RuntimeError("x"), torch.OutOfMemoryError("CUDA out of memory")):
        with pytest.raises(type(error)) as caught, device_errors():
            raise error
        assert caught.value is error
