"""A batch's way to a device and back, on a CPU: the same steps, without streams."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import fcos_core.predictor as predictor_module
from fcos_core.config import InputConfig
from fcos_core.decoding import DecodedBatch, decode
from fcos_core.decoding.fixed import decode_fixed
from fcos_core.engines.submission import HostCopies, Stager, network_input
from fcos_core.errors import DeviceError, NotFiniteError
from fcos_core.images import make_batch
from fcos_core.predictor import Predictor
from fcos_core.structures import Detections, HeadOutputs
from tests.fcos_core.dispatches import Dispatches
from tests.fcos_core.models import small_model

CPU = torch.device("cpu")
CONFIG = InputConfig(min_size_px=64, max_size_px=128)


def _images(*sizes: tuple[int, int]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def _input(images: list[np.ndarray], config: InputConfig, batch_size: int) -> torch.Tensor:
    return network_input(Stager(CPU).stage(images, config), config, batch_size=batch_size)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([(50, 60)], id="one"),
        pytest.param([(50, 60)] * 4, id="equal"),
        pytest.param([(50, 60), (50, 60), (100, 120), (50, 61)], id="mixed"),
        pytest.param([(64, 96), (64, 90)], id="not_resized"),
        pytest.param([(64, 128), (63, 128), (64, 128)], id="tall_between"),
    ],
)
@pytest.mark.parametrize("batch_size", [4, 5])
def test_input_has_the_bits_of_make_batch(sizes: list[tuple[int, int]], batch_size: int) -> None:
    images = _images(*sizes)
    expected = make_batch(images, CONFIG, CPU, batch_size=batch_size)

    staged = Stager(CPU).stage(images, CONFIG)
    found = network_input(staged, CONFIG, batch_size=batch_size)

    assert torch.equal(found, expected.pixels)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(staged.sizes, expected.sizes)
    assert torch.equal(staged.scales, expected.scales)


def test_read_only_and_strided_images_are_staged() -> None:
    (image,) = _images((50, 120))
    image.flags.writeable = False

    found = _input([image[:, ::2]], CONFIG, 1)

    assert torch.equal(found, _input([image[:, ::2].copy()], CONFIG, 1))


def test_settings_do_not_share_their_mean() -> None:
    images = _images((50, 60))
    other = replace(CONFIG, mean=(0.1, 0.2, 0.3))

    assert not torch.equal(_input(images, CONFIG, 1), _input(images, other, 1))


def test_copies_on_the_host_are_the_tensors() -> None:
    tensors = [torch.arange(3), torch.ones(2, 2)]

    assert all(map(torch.equal, HostCopies(tensors).wait(), tensors))


def _same(found: list[Detections], expected: list[Detections]) -> bool:
    return len(found) == len(expected) and all(
        torch.equal(getattr(one, name), getattr(other, name))
        for one, other in zip(found, expected, strict=True)
        for name in ("boxes", "scores", "labels")
    )


@pytest.mark.parametrize("engine", ["eager", "folded"])
@pytest.mark.parametrize("count", [1, 3])
def test_submitted_batch_finds_what_predict_batch_finds(engine: str, count: int) -> None:
    predictor = Predictor(small_model(), device="cpu", engine=engine, batch_size=3)
    images = _images(*[(50, 60)] * count)
    expected = predictor.predict_batch(images)

    assert sum(len(one) for one in expected) > 0
    assert _same(predictor.submit(images).result(), expected)
    assert not predictor.runs_ahead


def test_images_may_change_and_batches_may_overlap_once_they_are_submitted() -> None:
    predictor = Predictor(small_model(), device="cpu", batch_size=2)
    first, second = _images((50, 60), (50, 60)), _images((50, 60), (50, 60), (50, 60))[1:]
    expected = [predictor.predict_batch(batch) for batch in (first, second)]

    pending = predictor.submit(first)
    first[0][:] = 0
    later = predictor.submit(second)
    first[1][:] = 0

    assert _same(later.result(), expected[1])
    assert _same(pending.result(), expected[0])


def test_image_whose_outputs_are_not_finite_is_found_when_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictor = Predictor(small_model(), device="cpu", batch_size=2)
    run = predictor.engine

    def broken(pixels: torch.Tensor) -> HeadOutputs:
        outputs = run(pixels)
        outputs.distances[1, 0, 0] = float("inf")
        return outputs

    monkeypatch.setattr(predictor, "engine", broken)
    pending = predictor.submit(_images((50, 60), (50, 60)))

    with pytest.raises(NotFiniteError, match="image 1 of 2"):
        pending.result()


@pytest.mark.parametrize("is_late", [False, True])
def test_failed_device_is_one_error_whenever_it_shows(
    monkeypatch: pytest.MonkeyPatch, *, is_late: bool
) -> None:
    predictor = Predictor(small_model(), device="cpu")

    def fail(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")

    if is_late:
        monkeypatch.setattr(predictor, "_read", fail)
        pending = predictor.submit(_images((50, 60)))
        with pytest.raises(DeviceError, match=r"illegal memory access was encountered$"):
            pending.result()
    else:
        monkeypatch.setattr(predictor, "engine", fail)
        with pytest.raises(DeviceError, match=r"illegal memory access was encountered$"):
            predictor.submit(_images((50, 60)))


def test_batch_beyond_the_limits_of_the_fixed_form_is_decoded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictor = Predictor(small_model(), device="cpu", batch_size=3)
    images = _images((50, 60), (50, 60))
    expected = predictor.predict_batch(images)

    def limited(*args: object, **settings: object) -> DecodedBatch:
        decoded = decode(*args, **settings)
        decoded.boxes[1] = 0
        return replace(decoded, is_exact=torch.tensor([True, False]))

    with monkeypatch.context() as patch:
        patch.setattr(predictor_module, "decode", limited)
        pending = predictor.submit(images)
    predictor.submit(_images((40, 40)))

    assert _same(pending.result(), expected)


def test_nothing_between_submissions_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(small_model(), device="cpu", engine="folded", batch_size=2)
    images = _images((50, 60), (50, 60))
    expected = predictor.predict_batch(images)
    monkeypatch.setattr(predictor_module, "decode", decode_fixed)
    predictor.submit(images)  # what is cached per shape is made here
    # Staging writes memory of the CPU through numpy, which the counter takes for a copy.
    staged = predictor._stager.stage(images, predictor.model.config.input)
    monkeypatch.setattr(predictor._stager, "stage", lambda *_: staged)

    with Dispatches(is_waiting_refused=True):
        pending = predictor.submit(images)

    assert _same(pending.result(), expected)
