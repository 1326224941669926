"""A path that is not UTF-8 is a setting like any other, named by its uri."""

import os
from pathlib import Path

import pytest

from fcos_core.errors import ConfigError
from jobs.cli.raw_words import in_utf8
from jobs.settings.detect import DetectConfig
from jobs.settings.render import RenderConfig
from jobs.storage.weights import resolve_weights
from jobs.train import run as train
from tests.jobs.training.small import small_training


def test_every_setting_takes_a_path_that_is_not_utf8(tmp_path: Path) -> None:
    raw = str(tmp_path / os.fsdecode(b"\xe9"))
    uri = f"file://{tmp_path}/%E9"
    config = DetectConfig(inputs=(raw, "é"), out=raw, weights=raw, image_root=raw)
    assert (config.inputs, config.out) == ((uri, "é"), uri)
    assert (config.weights, config.image_root) == (uri, uri)
    assert RenderConfig(run=raw, out=raw).run == uri


@pytest.mark.parametrize(
    ("word", "spelled"),
    [
        (b"--out", "--out"),
        (b"caf\xc3\xa9 *.jpg", "café *.jpg"),
        (b"/d/\xe9*.jpg", "file:///d/%E9*.jpg"),
        (b"--out=/d/\xe9=", "--out=file:///d/%E9%3D"),
        (b"file:///d/%E9", "file:///d/%E9"),
    ],
)
def test_a_word_of_the_command_line_is_spelled_in_utf8(word: bytes, spelled: str) -> None:
    assert in_utf8(os.fsdecode(word)) == spelled
    assert in_utf8(spelled) == spelled


def test_weights_whose_path_is_not_utf8_are_loaded_from_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    path = tmp_path / os.fsdecode(b"\xe9.safetensors")
    for content in (b"one", b"another"):
        path.write_bytes(content)
        found = resolve_weights(str(path))
        assert found.path.read_bytes() == content
        str(found.path).encode()
    assert resolve_weights(f"file://{tmp_path}/%E9.safetensors").path == found.path


def test_a_training_says_that_its_folder_must_be_utf8(tmp_path: Path) -> None:
    out = tmp_path / os.fsdecode(b"\xe9")
    with pytest.raises(ConfigError, match=r"%E9: the path of a training must be UTF-8"):
        train(small_training(tmp_path / "annotations.json", out))
