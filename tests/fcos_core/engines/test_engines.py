"""Every engine that is installed finds what ``eager`` finds: as a matching, in fp32 closely."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fcos_core import FCOS, Predictor, build_model
from fcos_core.config import BackboneConfig, preset_config
from fcos_core.engines.engine import Engine
from fcos_core.engines.folding import fold_norms
from fcos_core.engines.make import make_engine
from fcos_core.errors import ConfigError, DeviceError
from tests.fcos_core.engines.installed import CPU_ENGINES, HAS_OPENVINO, needs_openvino
from tests.fcos_core.models import small_model

CPU = torch.device("cpu")
OTHERS = [name for name in CPU_ENGINES if name != "eager"]
# Folding and another order of additions: a few last bits of numbers around ten.
ATOL = 1e-4


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of this module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def randomised(model: FCOS) -> FCOS:
    """Give the norms statistics of their own; a fresh norm is nearly the identity."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(getattr(module, "running_var", None), torch.Tensor):
            for name, low, high in (
                ("running_mean", -0.1, 0.1),
                ("running_var", 0.5, 2.0),
                ("weight", 0.5, 1.5),
                ("bias", -0.1, 0.1),
            ):
                value = getattr(module, name).data
                value.copy_(torch.rand(value.shape, generator=generator) * (high - low) + low)
    return model.eval()


def assert_close(found, expected):
    assert found.level_shapes == expected.level_shapes
    for name in ("cls_logits", "distances", "centerness_logits"):
        ours, theirs = getattr(found, name).float(), getattr(expected, name)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=ATOL)


@pytest.mark.parametrize(
    ("backbone", "norm"),
    [("resnet18", "batch"), ("resnet50", "frozen"), ("mobilenet_v3_small", "frozen")],
)
def test_folding_changes_rounding_alone(backbone, norm):
    config = preset_config("torchvision", 5, backbone)
    model = randomised(FCOS(replace(config, backbone=replace(config.backbone, norm=norm))))
    pixels = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        # In float64 the two are one function: what is left is the rounding of the folded weights.
        exact = model.double()(pixels.double())
        folded = fold_norms(model.float()).double()(pixels.double())
    for name in ("cls_logits", "distances", "centerness_logits"):
        torch.testing.assert_close(
            getattr(folded, name), getattr(exact, name), rtol=1e-5, atol=1e-5
        )


def test_folding_leaves_the_model_as_it_was():
    model = small_model("torchvision")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fold_norms(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("preset", ["paper", "improved", "torchvision"])
@pytest.mark.parametrize("name", OTHERS)
def test_fp32_outputs_equal_those_of_eager(name, preset):
    model = randomised(small_model(preset))
    eager = make_engine("eager", model, CPU, "fp32")
    engine = make_engine(name, model, CPU, "fp32")
    assert isinstance(engine, Engine)
    assert (engine.name, engine.precision) == (name, "fp32")
    with torch.inference_mode():
        for shape in ((1, 3, 64, 96), (3, 3, 96, 64), (1, 3, 64, 96)):
            pixels = torch.randn(shape, generator=torch.Generator().manual_seed(2))
            for layout in (torch.contiguous_format, torch.channels_last):
                assert_close(engine(pixels.contiguous(memory_format=layout)), eager(pixels))


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_an_image_gets_the_same_bits_whatever_shapes_came_before(name):
    model = small_model("improved")
    engine = make_engine(name, model, CPU, "fp32")
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        first = engine(pixels).cls_logits.clone()
        for shape in ((1, 3, 96, 64), (2, 3, 64, 64), (1, 3, 320, 320)):
            engine(torch.zeros(shape))
        again = engine(pixels).cls_logits.clone()
        other = make_engine(name, model, CPU, "fp32")(pixels).cls_logits
    assert torch.equal(first, again)
    assert torch.equal(first, other)


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_the_predictor_finds_the_same_with_every_engine(name):
    model = randomised(small_model("torchvision"))
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, shape, np.uint8) for shape in ((64, 96, 3), (96, 64, 3))]
    expected = Predictor(model, device="cpu")(images)
    assert sum(map(len, expected)) > 20
    for found, reference in zip(
        Predictor(model, device="cpu", engine=name)(images), expected, strict=True
    ):
        assert torch.equal(found.labels, reference.labels)
        torch.testing.assert_close(found.scores, reference.scores, rtol=0, atol=1e-4)
        torch.testing.assert_close(found.boxes, reference.boxes, rtol=0, atol=0.01)


def test_the_scales_stay_float32_where_the_network_is_bf16():
    """In bfloat16 a scale of 1.003 would be 1: every box would be 0.3 % too small."""
    model = small_model("improved")
    assert model.head.scales is not None
    with torch.no_grad():
        model.head.scales.fill_(1.003)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        scaled = make_engine("folded", model, CPU, "bf16")(pixels).distances.clone()
        model.head.scales.fill_(1.0)
        plain = make_engine("folded", model, CPU, "bf16")(pixels).distances
    assert bool((plain > 0).any())
    torch.testing.assert_close(scaled, plain * 1.003, rtol=1e-6, atol=0)


@needs_openvino
def test_openvino_refuses_a_precision_that_it_lacks():
    with pytest.raises(ConfigError, match="precision fp16, must be fp32 or bf16"):
        make_engine("openvino", small_model("paper"), CPU, "fp16")


@needs_openvino
def test_weights_whose_activations_overflow_are_refused_by_openvino_too():
    """Its ReLU makes 0 of NaN: such weights gave detections, where torch's are not finite."""
    model = small_model("improved")
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_var.zero_()
                module.weight.mul_(1e20)
    with pytest.raises(ConfigError, match="differ from torch's by nan"):
        make_engine("openvino", model, CPU, "fp32")


@pytest.mark.parametrize("name", CPU_ENGINES)
def test_pixels_that_are_not_finite_are_seen_in_the_outputs(name):
    engine = make_engine(name, small_model("torchvision"), CPU, "fp32")
    pixels = torch.zeros(2, 3, 64, 64)
    pixels[1, 0, 5, 5] = torch.nan
    with torch.inference_mode():
        assert engine(pixels).is_finite().tolist() == [True, False]


@needs_openvino
def test_outputs_that_an_earlier_batch_left_are_not_taken_for_this_ones(monkeypatch):
    """Without memory for a batch, OpenVINO returns what is there and raises nothing."""
    engine = make_engine("openvino", small_model("torchvision"), CPU, "fp32")
    with torch.inference_mode():
        engine(torch.zeros(1, 3, 64, 64))
        left = list(engine._outputs)
        monkeypatch.setattr(engine, "_request", DoesNothing(left))
        for shape in ((1, 3, 64, 64), (1, 3, 96, 64)):
            with pytest.raises(DeviceError, match="memory is exhausted"):
                engine(torch.zeros(shape))


class DoesNothing:
    """A request that leaves its outputs as they are."""

    def __init__(self, outputs):
        self.outputs = outputs

    def infer(self, _, **__):
        return self.outputs


@pytest.mark.skipif(HAS_OPENVINO, reason="OpenVINO is installed")
def test_a_missing_extra_is_named_with_its_install_line():
    with pytest.raises(ConfigError, match="pip install"):
        make_engine("openvino", small_model("paper"), CPU, "fp32")


def test_narrow_networks_are_folded_too():
    config = preset_config("improved", 3, "resnet18")
    narrow = replace(config, backbone=BackboneConfig(name="resnet18", width=0.25, fpn_channels=32))
    assert fold_norms(FCOS(narrow)) is not None
    assert build_model("improved", 3, "resnet18") is not None
