"""Which engine and precision ``auto`` comes to, and which choices are refused."""

import subprocess
import sys

import pytest

from fcos_core.engines.choice import Hardware, choose_engine, gpu_has_bf16
from fcos_core.errors import ConfigError

PLAIN_CPU = Hardware(device="cpu", has_bf16=False)
CPU = Hardware(device="cpu", has_bf16=True)
PLAIN_CPU_OV = Hardware(device="cpu", has_bf16=False, extras=("openvino",))
CPU_OV = Hardware(device="cpu", has_bf16=True, extras=("openvino",))


@pytest.mark.parametrize(
    ("hardware", "engine", "precision", "expected"),
    [
        pytest.param(CPU_OV, "auto", "auto", ("openvino", "fp32"), id="cpu_keeps_fp32"),
        pytest.param(CPU, "auto", "auto", ("folded", "fp32"), id="without_the_extra"),
        pytest.param(CPU_OV, "auto", "fp32", ("eager", "fp32"), id="fp32_by_name_is_eager"),
        pytest.param(CPU_OV, "auto", "bf16", ("openvino", "bf16"), id="bf16_when_asked"),
        pytest.param(CPU, "auto", "bf16", ("folded", "bf16"), id="bf16_by_torch"),
        pytest.param(PLAIN_CPU_OV, "auto", "bf16", ("folded", "bf16"), id="bf16_without_units"),
        pytest.param(CPU_OV, "auto", "fp16", ("folded", "fp16"), id="openvino_has_no_fp16"),
        pytest.param(CPU_OV, "folded", "auto", ("folded", "fp32"), id="engine_by_name"),
        pytest.param(CPU_OV, "openvino", "fp32", ("openvino", "fp32"), id="both_by_name"),
    ],
)
def test_auto_on_a_cpu(hardware, engine, precision, expected):
    choice = choose_engine(hardware, engine=engine, precision=precision)
    assert (choice.engine, choice.precision) == expected
    assert "\n" not in choice.reason


def test_a_gpu_with_bf16_units_gets_bf16_and_the_reason_says_how_to_get_fp32():
    choice = choose_engine(Hardware(device="cuda", has_bf16=gpu_has_bf16((8, 0))))
    assert choice.precision == "bf16"
    assert "--precision fp32" in choice.reason


def test_an_older_gpu_keeps_fp32():
    choice = choose_engine(Hardware(device="cuda", has_bf16=gpu_has_bf16((7, 5))))
    assert choice.precision == "fp32"


def test_fp32_by_name_is_the_reference_on_a_gpu():
    choice = choose_engine(Hardware(device="cuda", has_bf16=True), precision="fp32")
    assert (choice.engine, choice.precision) == ("eager", "fp32")


def test_the_reason_names_what_would_be_faster():
    assert "faster with pip install openvino" in choose_engine(CPU).reason
    assert "pip" not in choose_engine(CPU_OV).reason
    assert "no bf16 units" in choose_engine(PLAIN_CPU_OV, precision="bf16").reason
    assert "no fp16 units" in choose_engine(CPU_OV, precision="fp16").reason


@pytest.mark.parametrize(
    ("hardware", "engine", "precision", "message"),
    [
        (CPU, "openvino", "auto", "is not installed; pip install openvino"),
        (CPU_OV, "openvino", "fp16", "precision fp16, must be fp32 or bf16"),
        (PLAIN_CPU_OV, "openvino", "bf16", "this processor has no bf16 units"),
        (Hardware(device="cuda", has_bf16=True), "openvino", "auto", "needs a CPU"),
    ],
)
def test_what_cannot_work_is_refused(hardware, engine, precision, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        choose_engine(hardware, engine=engine, precision=precision)


def test_the_choice_imports_no_torch():
    code = "import sys, fcos_core.engines.choice; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
