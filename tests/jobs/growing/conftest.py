"""Runs that grow, computed in the test's own process, without Ray."""

from pathlib import Path

import pytest

import jobs.detect as detect_module
from jobs.detect import DetectConfig
from tests.jobs.dispatch.here import dispatch_here
from tests.jobs.growing import config_of, write_first


@pytest.fixture(autouse=True)
def _without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect_module, "dispatch", dispatch_here)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images."""
    return write_first(tmp_path / "images")


@pytest.fixture
def config(folder: Path, tiny_weights: Path, tmp_path: Path) -> DetectConfig:
    """The command of a run over them, which is not begun."""
    return config_of(folder, tiny_weights, tmp_path / "run")
