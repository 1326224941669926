"""A checkpoint that asks for more than it holds is refused before it is unpacked or built."""

import io
import json
import struct
import time
import zipfile
from pathlib import Path

import pytest
import torch

from fcos_core.checkpoint import load_checkpoint, read_header
from fcos_core.config import config_to_dict
from fcos_core.errors import CheckpointError
from tests.fcos_core.models import small_config

READERS = pytest.mark.parametrize("read", [read_header, load_checkpoint])


def refused(read, path: Path, expected: str) -> None:
    started = time.process_time()
    with pytest.raises(CheckpointError, match=expected) as raised:
        read(path)
    assert "\n" not in str(raised.value)
    assert time.process_time() - started < 5


def torch_members() -> dict[str, bytes]:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(4)}, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@READERS
@pytest.mark.parametrize("part", ["data/0", "data.pkl"])
def test_a_compressed_state_dict_is_refused_before_it_is_unpacked(tmp_path, read, part: str):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in torch_members().items():
            is_bomb = name.endswith(part)
            method = zipfile.ZIP_DEFLATED if is_bomb else zipfile.ZIP_STORED
            archive.writestr(name, data + bytes(is_bomb * (64 << 20)), method)
    refused(
        read, path, rf"bomb.pth: 'archive/{part}' in it is compressed \(671\d+ bytes unpacked\)"
    )


@READERS
def test_parts_that_lie_over_each_other_are_refused(tmp_path, read):
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in torch_members().items():
            archive.writestr(name, data)
        archive.writestr("archive/data/1", bytes(1 << 20))
        (big,) = (info for info in archive.filelist if info.filename.endswith("data/1"))
        archive.filelist += [big] * 20
    refused(read, path, r"its parts have 22\d+ bytes, the whole file 10\d+")


def write_safetensors(path: Path, metadata: dict[str, str], shapes: dict[str, list[int]]) -> Path:
    tensors, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + 4 * int(torch.Size(shape).numel())
        tensors[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    header = json.dumps({"__metadata__": metadata, **tensors}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(offset))
    return path


@READERS
@pytest.mark.parametrize("entry", ["config", "categories"])
def test_a_header_of_nested_lists_is_refused(tmp_path, read, entry: str):
    config = config_to_dict(small_config("paper", 2))
    metadata = {"format": "fcos-batch/1", "config": json.dumps(config), "categories": "[]"}
    path = write_safetensors(
        tmp_path / "bomb.safetensors", metadata | {entry: "[" * 200_000}, {"a": [1]}
    )
    refused(read, path, "its header cannot be used: it is nested too deeply")


@READERS
def test_a_file_of_countless_tensors_is_refused(tmp_path, read):
    shapes = {f"t{i}": [0] for i in range(20_000)}
    path = write_safetensors(tmp_path / "bomb.safetensors", {}, shapes)
    refused(read, path, "20000 tensors, limit 10000")


@READERS
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"head": {"num_convs": 10**9}}, "num_convs 1000000000: must be at most 64"),
        (
            {"encoding": {"strides": [8] * 40, "size_ranges": [[0.0, 1.0]] * 40}},
            "number of strides 40: must be at most 32",
        ),
    ],
)
def test_a_header_that_asks_for_an_endless_network_is_refused(tmp_path, read, change, expected):
    config = config_to_dict(small_config("paper", 2))
    for group, values in change.items():
        config[group] |= values
    categories = json.dumps([{"id": i, "name": str(i)} for i in range(2)])
    metadata = {"format": "fcos-batch/1", "config": json.dumps(config), "categories": categories}
    channels = config["backbone"]["fpn_channels"]
    kernel = [channels, 3, 3]
    shapes = {
        "head.classification_head.cls_logits.weight": [2, *kernel],
        "head.regression_head.bbox_reg.weight": [4, *kernel],
        "head.classification_head.bbox_ctrness.weight": [1, *kernel],
        "head.regression_head.bbox_ctrness.weight": [1, *kernel],
    }
    refused(read, write_safetensors(tmp_path / "bomb.safetensors", metadata, shapes), expected)
