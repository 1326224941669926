"""What this machine can compute with."""

import os

import pytest
import torch

from fcos_core.errors import ConfigError
from jobs.parallel import resources as resources_module
from jobs.parallel.devices import device_model
from jobs.parallel.resources import local_resources


def test_this_machine_has_cores_and_a_named_device() -> None:
    resources = local_resources()
    assert 1 <= resources.num_cpus <= (os.cpu_count() or 1)
    assert resources.device == ("cuda" if resources.num_gpus else "cpu")
    assert resources.device_model
    assert device_model("cpu").endswith(")")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine whose GPU does not work")
def test_a_gpu_that_does_not_work_is_a_config_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"^the GPU cannot be used: \w+Error: [^\n]+$"):
        local_resources()


def test_a_gpu_that_does_not_answer_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(resources_module, "device_model", os.abort)
    with pytest.raises(ConfigError, match=r"^the GPU cannot be used: "):
        local_resources()
