"""The converted model is kept once, whole, and made anew when it cannot be used."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fcos_core.engines.ir_cache import cache_folder, cached_ir
from fcos_core.engines.make import make_engine
from tests.commands import ROOT
from tests.fcos_core.engines.installed import needs_openvino
from tests.fcos_core.models import small_model

pytestmark = needs_openvino

CPU = torch.device("cpu")
PIXELS = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A cache that holds the model; converting takes seconds."""
    root = tmp_path_factory.mktemp("converted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root))
        return root, logits()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache's root, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def filled(cache, converted):
    """The cache holds the model; its outputs."""
    root, expected = converted
    shutil.copytree(root, cache)
    return expected


def logits(model=None):
    with torch.inference_mode():
        return make_engine("openvino", model or small_model("paper"), CPU, "fp32")(
            PIXELS
        ).cls_logits.clone()


def folders():
    return sorted(path for path in cache_folder().iterdir())


def test_the_second_process_converts_nothing(filled, monkeypatch):
    (folder,) = folders()
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.bin",
        "model.xml",
        "sha256.json",
    ]
    monkeypatch.setattr("fcos_core.engines.ir_cache._convert", pytest.fail)
    assert torch.equal(logits(), filled)


def test_other_weights_and_other_versions_are_other_folders(filled):
    other = small_model("paper")
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    assert not torch.equal(logits(other), filled)
    cached_ir(small_model("paper"), "2099.1", lambda path: path.read_bytes())
    assert len(folders()) == 3


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("model.bin", "cut"),
        ("model.bin", "changed"),
        ("model.xml", "empty"),
        ("sha256.json", "gone"),
    ],
)
def test_a_damaged_folder_is_made_anew(filled, name, damage, caplog, monkeypatch):
    (folder,) = folders()
    path = folder / name
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(data) // 2
        changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"cut": data[:middle], "changed": changed, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert torch.equal(logits(), filled)
    assert "cannot be used, and is made anew" in caplog.text
    caplog.clear()
    monkeypatch.setattr("fcos_core.engines.ir_cache._convert", pytest.fail)
    assert torch.equal(logits(), filled)
    assert not caplog.text
    assert folders() == [folder]


def test_a_damaged_folder_that_cannot_be_removed_is_not_used(filled, monkeypatch, caplog):
    """As in a cache of another user; its file was used although it was known to be damaged."""
    (folder,) = folders()
    size = (folder / "model.bin").stat().st_size
    (folder / "model.bin").write_bytes(bytes(size))

    def refuse(_: Path) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr("fcos_core.engines.ir_cache._discard", refuse)
    assert torch.equal(logits(), filled)
    assert "cannot be kept: model.bin has changed" in caplog.text
    assert not list(cache_folder().glob(".tmp-*"))


def test_a_user_without_a_home_converts_anew(converted, monkeypatch):
    """As in a container that runs under a number without a name."""
    monkeypatch.delenv("XDG_CACHE_HOME")

    def refuse() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", refuse)
    _, expected = converted
    assert torch.equal(logits(), expected)


@pytest.mark.parametrize("obstacle", ["file", "read_only"])
def test_without_a_place_to_keep_it_the_engine_works_all_the_same(cache, converted, obstacle):
    _, expected = converted
    if obstacle == "file":
        cache.write_text("not a folder")
    else:
        cache.mkdir()
        cache.chmod(0o500)
        if os.access(cache, os.W_OK):
            pytest.skip("this user may write everywhere")
    assert torch.equal(logits(), expected)


REPORT = """
import sys
from tests.fcos_core.engines.test_ir_cache import logits
logits()
assert "openvino" in sys.modules
print([name for name in sys.modules if name.startswith("openvino_telemetry.")])
"""


def test_nothing_is_reported_to_the_makers_of_openvino(tmp_path):
    """Its package sends an event at each import, and writes an id into the user's home."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", REPORT], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "[]"
    assert not (home / "intel").exists()


CONVERT = """
from tests.fcos_core.engines.test_ir_cache import logits
print(logits().numpy().tobytes().hex())
"""


@pytest.mark.slow
def test_processes_that_convert_at_the_same_time_agree(cache: Path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-c", CONVERT], stdout=subprocess.PIPE, env=environment)
        for _ in range(2)
    ]
    found = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert found[0] == found[1]
    assert len(found[0]) > 1_000
    assert len(folders()) == 1
    assert not list(cache_folder().glob(".tmp-*"))
