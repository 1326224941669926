import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fcos_core import Category, load_checkpoint, save_checkpoint
from fcos_core.checkpoint import read_header
from fcos_core.errors import CheckpointError
from fcos_core.model.detector import FCOS
from tests.fcos_core.models import small_config, small_model, torchvision_state_dict


def with_norm(config, norm):
    return replace(config, backbone=replace(config.backbone, norm=norm))


@pytest.fixture(scope="module")
def state():
    return torchvision_state_dict(num_classes=5, size=64)


def test_a_saved_model_is_loaded_with_its_weights_config_and_categories(tmp_path):
    model = FCOS(small_config("paper", 2), [Category(7, "cat"), Category(9, "Hund ü")])
    save_checkpoint(tmp_path / "m.safetensors", model, extra={"step": "12"})
    loaded = load_checkpoint(tmp_path / "m.safetensors")
    assert loaded.config == model.config
    assert loaded.categories == model.categories
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_float16_storage_halves_the_file_and_loads_as_float32(tmp_path):
    model = small_model()
    save_checkpoint(tmp_path / "full.safetensors", model)
    save_checkpoint(tmp_path / "half.safetensors", model, dtype=torch.float16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.55 * sizes[1]
    weight = load_checkpoint(tmp_path / "half.safetensors").head.regression_head.bbox_reg.weight
    assert weight.dtype == torch.float32
    torch.testing.assert_close(
        weight, model.head.regression_head.bbox_reg.weight, rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("norm", ["frozen", "batch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("preset", ["paper", "improved", "torchvision"])
def test_a_loaded_model_equals_one_whose_weights_were_copied_over(tmp_path, preset, dtype, norm):
    saved = FCOS(with_norm(small_config(preset, 3), norm))
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, saved, dtype=dtype)
    copied = FCOS(saved.config).eval()
    copied.load_state_dict(load_file(path), strict=True)
    loaded = load_checkpoint(path)
    assert list(loaded.state_dict()) == list(copied.state_dict())
    for name, value in copied.state_dict().items():
        ours = loaded.state_dict()[name]
        assert (ours.dtype, ours.device, ours.stride()) == (
            value.dtype,
            value.device,
            value.stride(),
        )
        assert torch.equal(ours, value), name
    assert not any(value.is_meta for value in (*loaded.parameters(), *loaded.buffers()))
    assert [p.requires_grad for p in loaded.parameters()] == [
        p.requires_grad for p in copied.parameters()
    ]
    batch = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        outputs, expected = loaded(batch), copied(batch)
    assert torch.equal(outputs.cls_logits, expected.cls_logits)
    assert torch.equal(outputs.distances, expected.distances)
    assert torch.equal(outputs.centerness_logits, expected.centerness_logits)


@pytest.mark.parametrize("save", [torch.save, save_file])
def test_a_loaded_model_outlives_its_file(tmp_path, state, save):
    path = tmp_path / "w.pth"
    save(state, path)
    model = load_checkpoint(path)
    with path.open("r+b") as file:  # in place, and so in every mapping of it
        file.write(bytes(path.stat().st_size))
    loaded = model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in state.items())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("with_counters", [False, True], ids=["319 keys", "372 keys"])
def test_a_bare_state_dict_of_torchvision_has_its_preset(tmp_path, state, suffix, with_counters):
    if with_counters:
        norms = [n for n in state if n.endswith("running_mean")]
        state = state | {
            n.replace("running_mean", "num_batches_tracked"): torch.tensor(1) for n in norms
        }
        assert len(state) == 372
    path = tmp_path / f"w{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    model = load_checkpoint(path)
    assert model.config.preset == "torchvision"
    assert [c.id for c in model.categories] == [0, 1, 2, 3, 4]
    assert torch.equal(
        model.state_dict()["backbone.body.conv1.weight"], state["backbone.body.conv1.weight"]
    )


def test_91_classes_get_cocos_names(tmp_path):
    state = torchvision_state_dict(size=64)
    torch.save(state, tmp_path / "w.pth")
    categories = load_checkpoint(tmp_path / "w.pth").categories
    assert (categories[1], categories[12], categories[90]) == (
        Category(1, "person"),
        Category(12, "N/A"),
        Category(90, "toothbrush"),
    )


def save_in_the_format_before_zip(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


class Attack:
    def __reduce__(self):
        return os.mkdir, ("attacked",)


def broken(change):
    def make(path: Path, state):
        torch.save(change(dict(state)), path)

    return make


def without_one(state):
    state.pop("head.regression_head.bbox_reg.bias")
    return state


def with_another_shape(state):
    state["head.regression_head.bbox_reg.bias"] = torch.zeros(5)
    return state


def with_nan(state):
    state["backbone.fpn.inner_blocks.0.0.bias"] = torch.full((256,), torch.nan)
    return state


def renamed(state):
    state["head.regression_head.bbox.bias"] = state.pop("head.regression_head.bbox_reg.bias")
    return state


RENAMED, RESHAPED, NAN = broken(renamed), broken(with_another_shape), broken(with_nan)
NEED_WEIGHTS = (RENAMED, RESHAPED, NAN)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(broken(without_one), "318 tensors beginning with", id="a tensor is missing"),
        pytest.param(RENAMED, "lacks head.regression_head.bbox_reg.bias", id="renamed"),
        pytest.param(RESHAPED, r"has shape \(5,\), must be \(4,\)", id="shape"),
        pytest.param(NAN, "value that is not finite", id="nan"),
        pytest.param(broken(lambda _: [1, 2]), "a list, must be a state dict", id="list"),
        pytest.param(
            broken(lambda _: {"epoch": 3}), "epoch is a int, must be a tensor", id="not tensors"
        ),
        pytest.param(
            broken(lambda _: Attack()), "cannot be read with weights_only=True", id="pickle"
        ),
        pytest.param(lambda p, _: p.write_bytes(b""), "cannot be read", id="empty"),
        pytest.param(lambda p, _: p.write_text("hello\n"), "cannot be read", id="text"),
        pytest.param(lambda p, _: p.mkdir(), "is a folder", id="folder"),
        pytest.param(lambda _p, _s: None, "No such file", id="missing"),
    ],
)
def test_a_file_that_is_not_a_usable_checkpoint_is_refused_in_one_line(
    tmp_path, monkeypatch, state, make, message
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    make(path, state)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    if make not in NEED_WEIGHTS:
        with pytest.raises(CheckpointError) as header_error:
            read_header(path)
        assert str(header_error.value) == str(caught.value)
    assert not (tmp_path / "attacked").exists()


def test_a_truncated_checkpoint_of_ours_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, small_model())
    path.write_bytes(path.read_bytes()[:-1000])
    for read in (load_checkpoint, read_header):
        with pytest.raises(CheckpointError, match="no readable safetensors file"):
            read(path)


def test_a_truncated_state_dict_is_refused(tmp_path, state):
    path = tmp_path / "w.pth"
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    for read in (load_checkpoint, read_header):
        with pytest.raises(CheckpointError, match="cannot be read with weights_only=True"):
            read(path)


def test_a_checkpoint_of_a_later_format_is_refused(tmp_path):
    save_file(
        {"x": torch.zeros(1)}, tmp_path / "m.safetensors", metadata={"format": "fcos-batch/2"}
    )
    for read in (load_checkpoint, read_header):
        with pytest.raises(
            CheckpointError, match="format fcos-batch/2, this version reads fcos-batch/1"
        ):
            read(tmp_path / "m.safetensors")


def test_a_checkpoint_whose_header_disagrees_with_its_weights_is_refused(tmp_path):
    model = small_model("improved", 3)
    path = tmp_path / "m.safetensors"
    model.config = small_config("improved", 4)
    model.categories = (*model.categories, Category(3, "extra"))
    save_checkpoint(path, model)
    for read in (load_checkpoint, read_header):
        with pytest.raises(CheckpointError, match=r"has shape .* must be"):
            read(path)


@pytest.mark.parametrize("preset", ["paper", "improved", "torchvision"])
def test_a_header_has_the_config_and_categories_of_the_model(tmp_path, preset):
    save_checkpoint(tmp_path / "m.safetensors", small_model(preset), dtype=torch.float16)
    model = load_checkpoint(tmp_path / "m.safetensors")
    assert read_header(tmp_path / "m.safetensors") == (model.config, model.categories)


@pytest.mark.parametrize("save", [torch.save, save_file, save_in_the_format_before_zip])
def test_the_header_of_a_torchvision_state_dict_follows_from_its_shapes(tmp_path, state, save):
    path = tmp_path / "w.pth"
    save(state, path)
    model = load_checkpoint(path)
    assert read_header(path) == (model.config, model.categories)


def test_a_header_is_read_without_building_a_network(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "m.safetensors", small_model())
    monkeypatch.setattr("fcos_core.checkpoint.FCOS", None)
    assert read_header(tmp_path / "m.safetensors").config == small_config()


def named(*ids: object, name: object = "a") -> str:
    """The categories of a header."""
    return json.dumps([{"id": one, "name": name} for one in ids])


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("config", None, "its header cannot be used: 'config'"),
        ("config", '{"preset": "other", "num_classes": 3}', "preset 'other': must be one of"),
        ("categories", "[]", "0 categories, 3 classes: the numbers must be equal"),
        ("categories", named(0, 1, 1), "2 categories have the id 1: ids must differ"),
        ("categories", named(0, 1, 2**31), "category id 2147483648: must fit in 32 bits"),
        ("categories", named(0, 1, "2"), "category id '2', name 'a': must be an integer and"),
        ("categories", named(0, 1, 1.0), "category id 1.0, name 'a': must be an integer and"),
        ("categories", named(0, 1, math.inf), "category id inf, name 'a': must be an integer and"),
        ("categories", named(0, 1, name=None), "category id 0, name None: must be an integer"),
        ("categories", named(0, 1, 2, name="\udce9"), r"category 0: name .* is not UTF-8"),
    ],
)
def test_a_header_without_a_usable_config_is_refused(tmp_path, entry, value, message):
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, small_model())
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() | {entry: value}
    save_file(tensors, path, metadata={k: v for k, v in metadata.items() if v is not None})
    for read in (load_checkpoint, read_header):
        with pytest.raises(CheckpointError, match=message):
            read(path)
