"""What this machine can compute with."""

import json
import os
from pathlib import Path
from typing import Never

import pytest
import torch

from fcos_core.errors import ConfigError
from jobs.parallel import resources as resources_module
from jobs.parallel.devices import cpu_kernels, device_model, find_device, may_have_gpu
from jobs.parallel.libraries import installed_libraries
from jobs.parallel.resources import local_resources
from tests.commands import run_python

AVX2 = frozenset({"fpu", "avx", "avx2", "fma"})
AVX512 = AVX2 | {"avx512f", "avx512vl", "avx512bw", "avx512dq"}

NAMES = """
import json, sys
from jobs.parallel.devices import device_model, may_have_gpu
from jobs.parallel.resources import local_resources
resources = local_resources()
is_torch_needed = "torch" in sys.modules
import torch
answer = [device_model("cpu"), torch.backends.cpu.get_cpu_capability(), is_torch_needed]
print(json.dumps([*answer, may_have_gpu(), resources.device_model]))
"""


def test_this_machine_has_cores_and_a_named_device() -> None:
    resources = local_resources()
    assert 1 <= resources.num_cpus <= (os.cpu_count() or 1)
    assert resources.device == ("cuda" if resources.num_gpus else "cpu")
    assert resources.num_gpus == torch.cuda.device_count()
    assert resources.device_model
    assert resources.libraries == installed_libraries()
    assert device_model("cpu").endswith(")")


@pytest.mark.parametrize("chosen", [None, "avx2", "default", "DEFAULT", "nonsense"])
def test_a_processor_is_named_with_the_kernels_that_torch_takes(chosen: str | None) -> None:
    environment = {} if chosen is None else {"ATEN_CPU_CAPABILITY": chosen}
    # torch warns of a value that it does not know.
    answer = run_python("-W", "ignore", "-c", NAMES, environment=environment)
    assert answer.code == 0, answer.stderr
    model, kernels, is_torch_needed, has_gpu, found = json.loads(answer.stdout.splitlines()[-1])
    brand, _, described = model.rstrip(")").rpartition(" (")
    assert brand
    assert described.split(", ")[0] == kernels
    if not has_gpu:
        assert (is_torch_needed, found) == (False, model)


@pytest.mark.parametrize(
    ("flags", "kernels"),
    [
        (AVX512, "AVX512"),
        (AVX512 - {"avx512dq"}, "AVX2"),
        (AVX2, "AVX2"),
        (AVX2 - {"fma"}, "DEFAULT"),
        (AVX512 | {"avx10_2"}, None),
        (frozenset[str](), None),
    ],
)
def test_kernels_follow_from_the_flags_of_a_processor(
    monkeypatch: pytest.MonkeyPatch, flags: frozenset[str], kernels: str | None
) -> None:
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert cpu_kernels(flags) == kernels


def test_of_another_architecture_only_torch_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert cpu_kernels(AVX512) is None
    assert f"({torch.backends.cpu.get_cpu_capability()}" in device_model("cpu")
    expected = local_resources()
    assert expected.device_model


def test_a_name_says_what_decides_the_kernels_of_other_libraries(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr("jobs.parallel.devices._CPU_INFO", info)
    flags = " ".join(sorted(AVX512 | {"avx512_bf16", "amx_bf16"}))
    info.write_text(f"processor\t: 0\nmodel name\t: Abacus  3000 \nflags\t\t: {flags}\n")
    assert find_device("cpu") == ("Abacus 3000 (AVX512, BF16, AMX)", None)


@pytest.mark.parametrize("name", ["nvidia0", "nvidia12", "nvmap", "dxg", "kfd"])
def test_a_device_file_is_a_reason_to_look_for_a_gpu(tmp_path: Path, name: str) -> None:
    for other in ("null", "nvidiactl", "nvme0"):
        (tmp_path / other).touch()
    assert not may_have_gpu(tmp_path)
    (tmp_path / name).touch()
    assert may_have_gpu(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_file_without_a_gpu_is_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    without = local_resources()
    monkeypatch.setattr(resources_module, "may_have_gpu", lambda: True)
    assert local_resources() == without


def _cannot_initialize(_: None) -> Never:
    torch.cuda.init()
    raise AssertionError


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine whose GPU does not work")
@pytest.mark.parametrize("function", [_cannot_initialize, os.abort])
def test_a_gpu_that_does_not_work_or_answer_is_a_config_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch, function: object
) -> None:
    monkeypatch.setattr(resources_module, "may_have_gpu", lambda: True)
    monkeypatch.setattr(resources_module, "_find_devices", function)
    with pytest.raises(ConfigError, match=r"^the GPU cannot be used: [^\n]+$"):
        local_resources()
