"""The CUDA engine's network, in torch's own operations, against the folded model."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import nn

from fcos_core import FCOS, build_model
from fcos_core.config import PRESETS, BackboneName, Precision
from fcos_core.engines.choice import Hardware, choose_engine
from fcos_core.engines.cuda import CudaEngine
from fcos_core.engines.engine import Engine, HoldsMemory
from fcos_core.engines.folded import FoldedEngine
from fcos_core.engines.make import make_engine
from fcos_core.engines.operations import PLAIN, probe_operations
from fcos_core.errors import ConfigError
from fcos_core.structures import HeadOutputs
from tests.fcos_core.models import small_config, small_model

CPU = torch.device("cpu")


def _pixels(height: int = 64, width: int = 96, *, count: int = 2) -> torch.Tensor:
    return torch.randn((count, 3, height, width), generator=torch.Generator().manual_seed(1))


def _require_same(found: HeadOutputs, expected: HeadOutputs, share: float) -> None:
    """Differences are at most this share of the expected values' deviation."""
    assert found.level_shapes == expected.level_shapes
    for name in ("cls_logits", "distances", "centerness_logits"):
        one, other = getattr(found, name).float(), getattr(expected, name).float()
        assert one.shape == other.shape
        assert (one - other).abs().max() <= share * other.std(correction=0), name


def _measure_norms(model: FCOS) -> FCOS:
    """Frozen norms of new weights leave maps unscaled: a hundred layers would overflow."""
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Conv2d) and module.bias is None and weight is not None:
            nn.init.kaiming_normal_(weight, nonlinearity="linear")
        if hasattr(module, "running_var"):
            nn.init.uniform_(module.bias, -0.1, 0.1)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.9, 1.3)
    return model.eval()


QUICK = ("resnet18", "mobilenet_v3_small")


@pytest.mark.parametrize(
    "backbone",
    [
        pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
        for name in get_args(BackboneName)
    ],
)
def test_rebuilt_network_equals_the_folded_one_for_every_backbone(backbone: str) -> None:
    torch.manual_seed(0)
    model = _measure_norms(build_model("improved", 5, backbone))

    expected = FoldedEngine(model, CPU, "fp32")(_pixels())
    found = CudaEngine(model, CPU, "fp32")(_pixels())

    # A shortcut's bias is added to another one before both are added: the last bits differ.
    _require_same(found, expected, 1e-4)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("num_classes", [7, 91])
def test_rebuilt_network_equals_the_folded_one_for_every_preset(
    preset: str, num_classes: int
) -> None:
    model = small_model(preset, num_classes)

    expected = FoldedEngine(model, CPU, "fp32")(_pixels())
    found = CudaEngine(model, CPU, "fp32")(_pixels())

    _require_same(found, expected, 1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_gives_half_logits_and_wide_distances(precision: Precision) -> None:
    model = small_model()

    expected = FoldedEngine(model, CPU, "fp32")(_pixels())
    found = CudaEngine(model, CPU, precision)(_pixels())

    assert found.cls_logits.dtype == (torch.bfloat16 if precision == "bf16" else torch.float16)
    assert found.distances.dtype == torch.float32
    _require_same(found, expected, 0.2)


def test_model_without_layers_in_its_towers_is_rebuilt() -> None:
    config = small_config()
    model = FCOS(replace(config, head=replace(config.head, num_convs=0))).eval()

    found = CudaEngine(model, CPU, "fp32")(_pixels())

    _require_same(found, FoldedEngine(model, CPU, "fp32")(_pixels()), 1e-4)


def test_engine_leaves_its_model_as_it_was() -> None:
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    CudaEngine(model, CPU, "bf16")(_pixels())

    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_engine_keeps_the_contract() -> None:
    engine = CudaEngine(small_model(), CPU, "fp32")

    assert isinstance(engine, Engine)
    assert isinstance(engine, HoldsMemory)
    assert engine.name == "cuda"
    assert engine.precision == "fp32"
    assert engine.description == "fp32, fused: nothing"


def test_nothing_is_fused_without_a_device_for_it() -> None:
    norm = nn.GroupNorm(8, 32)

    on_cpu = probe_operations(CPU, torch.bfloat16, norm)
    in_fp16 = probe_operations(torch.device("cuda"), torch.float16, norm)

    assert on_cpu.operations is PLAIN
    assert in_fp16.operations is PLAIN
    assert on_cpu.refusals == ("nothing is fused on a CPU",)
    assert len(in_fp16.refusals) == 1


def test_engine_is_made_on_cuda_only() -> None:
    with pytest.raises(ConfigError, match="needs a CUDA device, the device is cpu"):
        make_engine("cuda", small_model(), CPU, "fp32")


GPU = Hardware(device="cuda", has_bf16=True)
OLD_GPU = Hardware(device="cuda", has_bf16=False)


@pytest.mark.parametrize(
    ("choose", "expected"),
    [
        pytest.param(lambda: choose_engine(GPU), ("cuda", "bf16"), id="new"),
        pytest.param(lambda: choose_engine(OLD_GPU), ("cuda", "fp32"), id="old"),
        pytest.param(lambda: choose_engine(GPU, precision="fp32"), ("eager", "fp32"), id="fp32"),
        pytest.param(lambda: choose_engine(GPU, precision="fp16"), ("cuda", "fp16"), id="fp16"),
        pytest.param(lambda: choose_engine(GPU, engine="folded"), ("folded", "bf16"), id="folded"),
        pytest.param(
            lambda: choose_engine(GPU, engine="cuda", precision="fp32"), ("cuda", "fp32"), id="both"
        ),
    ],
)
def test_cuda_device_gets_the_cuda_engine(
    choose: Callable[[], object], expected: tuple[str, str]
) -> None:
    choice = choose()

    assert (choice.engine, choice.precision) == expected


def test_cpu_refuses_the_cuda_engine() -> None:
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        choose_engine(Hardware(device="cpu", has_bf16=True), engine="cuda")
