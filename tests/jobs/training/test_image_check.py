"""Images that cannot be trained on are found before the first step, whatever the seed draws."""

import json
import re
import shutil
from pathlib import Path

import pytest

from fcos_core.errors import ConfigError, DataError, ImageError, StorageError
from fcos_core.training import ProcessGroup
from jobs.annotations.coco_json import load_annotations
from jobs.settings.train import TrainConfig
from jobs.train import run
from jobs.training.data import LeftOut, TrainingData, load_data
from jobs.training.examples import ExampleSource, ground_truths
from jobs.training.image_check import check_images
from jobs.training.initial_model import build_initial_model
from tests.jobs.training.small import small_training


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the annotation file, with its images beside it."""
    return shutil.copytree(dataset.parent, tmp_path / "copy") / dataset.name


def image_file(annotations: Path, index: int) -> Path:
    names = [image["file_name"] for image in json.loads(annotations.read_text())["images"]]
    return annotations.parent / "images" / names[index]


def image_id(annotations: Path, index: int) -> int:
    return json.loads(annotations.read_text())["images"][index]["id"]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def check(config: TrainConfig) -> LeftOut:
    return check_images(config, load_data(config))


def test_a_truncated_image_ends_the_training_before_its_first_step(copy: Path, tmp_path: Path):
    truncate(image_file(copy, 3))
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"1 of 8 images cannot be used: .*: truncated"):
        run(small_training(copy, out))
    assert not out.exists()


@pytest.mark.parametrize(
    ("written", "way"),
    [
        ("more\\{}", r"\\ in file_name is replaced by /"),
        ("more%2F{}", "%-escapes in file_name are resolved"),
    ],
)
def test_names_in_another_spelling_get_a_hint_behind_their_reasons(
    copy: Path, tmp_path: Path, written: str, way: str
):
    folder = copy.parent / "images"
    document = json.loads(copy.read_text())
    for image in document["images"][:2]:
        (folder / "more").mkdir(exist_ok=True)
        (folder / image["file_name"]).rename(folder / "more" / image["file_name"])
        image["file_name"] = written.format(image["file_name"])
    copy.write_text(json.dumps(document))
    missing = f"2 of 8 images cannot be used: .*{re.escape(written.format(''))}.*"
    hint = f"; images in {re.escape(str(folder))} match when {way}; skip_invalid: true"
    with pytest.raises(DataError, match=missing + hint):
        check(small_training(copy, tmp_path / "out"))


def test_all_broken_images_are_counted_and_the_first_are_named(copy: Path, tmp_path: Path):
    truncate(image_file(copy, 0))
    image_file(copy, 1).unlink()
    image_file(copy, 2).write_bytes(b"no image")
    document = json.loads(copy.read_text())
    document["images"][4]["width"] += 1
    copy.write_text(json.dumps(document))

    with pytest.raises(DataError) as raised:
        check(small_training(copy, tmp_path / "out"))

    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith("4 of 8 images cannot be used: ")
    for index in range(3):
        assert image_file(copy, index).name in message
    assert "and 1 more; skip_invalid: true" in message


def test_a_size_that_is_not_the_images_is_said(copy: Path, tmp_path: Path):
    document = json.loads(copy.read_text())
    document["images"][4]["width"] += 1
    copy.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"has 320 x 320 pixels, .* says 321 x 320"):
        check(small_training(copy, tmp_path / "out"))


def test_broken_images_without_a_size_in_their_entry_are_counted_and_left_out(
    copy: Path, tmp_path: Path
):
    image_file(copy, 0).write_bytes(image_file(copy, 0).read_bytes()[:20])
    image_file(copy, 1).unlink()
    document = json.loads(copy.read_text())
    for image in document["images"]:
        del image["width"], image["height"]
    copy.write_text(json.dumps(document))

    with pytest.raises(DataError, match=r"2 of 8 images cannot be used: .*: trunc.*; .*No such"):
        check(small_training(copy, tmp_path / "out"))

    left_out = check(small_training(copy, tmp_path / "out", skip_invalid=True))
    assert left_out.train == (image_id(copy, 0), image_id(copy, 1))


def test_images_to_evaluate_on_are_checked_too(copy: Path, dataset: Path, tmp_path: Path):
    truncate(image_file(copy, 3))
    val = {"val_images": str(copy.parent / "images"), "val_annotations": str(copy)}
    with pytest.raises(DataError, match="1 of 16 images cannot be used"):
        check(small_training(dataset, tmp_path / "out", **val))
    left_out = check(small_training(dataset, tmp_path / "out", skip_invalid=True, **val))
    assert left_out == LeftOut(val=(image_id(copy, 3),))


def test_broken_images_are_left_out_and_counted_where_that_is_asked(copy: Path, tmp_path: Path):
    truncate(image_file(copy, 3))
    config = small_training(copy, tmp_path / "out", steps=2, skip_invalid=True)

    assert run(config).summary()["images_left_out"] == 1
    # Finished: nothing is checked again, and the count is that of the training.
    shutil.rmtree(copy.parent / "images")
    assert run(config).summary()["images_left_out"] == 1


def test_a_training_is_not_resumed_with_other_images(copy: Path, tmp_path: Path):
    truncate(image_file(copy, 3))
    config = small_training(copy, tmp_path / "out", steps=2, skip_invalid=True, checkpoint_every=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.train.show_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(config)
    truncate(image_file(copy, 5))
    left_out = f"[{image_id(copy, 3)},{image_id(copy, 5)}]"
    with pytest.raises(ConfigError, match=r"other settings \(left_out") as raised:
        run(config)
    assert f"{left_out} now" in str(raised.value)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_where_no_image_is_left_nothing_is_trained(copy: Path, tmp_path: Path):
    shutil.rmtree(copy.parent / "images")
    with pytest.raises(DataError, match="8 of 8 images cannot be used"):
        check(small_training(copy, tmp_path / "out", skip_invalid=True))


def test_left_out_images_take_their_boxes_with_them(dataset: Path):
    whole = load_annotations(str(dataset))
    data = TrainingData(whole, None, None).without(LeftOut(train=(whole.images[3].id,)))
    kept = [0, 1, 2, 4, 5, 6, 7]
    assert data.annotations.images == tuple(whole.images[i] for i in kept)
    before = ground_truths(whole, skip_invalid=False)
    after = ground_truths(data.annotations, skip_invalid=False)
    for i, truth in zip(kept, after, strict=True):
        assert truth.boxes.equal(before[i].boxes)
        assert truth.labels.equal(before[i].labels)


@pytest.mark.parametrize(("damage", "error"), [(truncate, ImageError), (Path.unlink, StorageError)])
def test_an_image_that_breaks_after_the_check_is_named(copy: Path, tmp_path: Path, damage, error):
    config = small_training(copy, tmp_path / "out", batch_size=8)
    data = load_data(config)
    assert check_images(config, data) == LeftOut()
    path = image_file(copy, 6)
    damage(path)
    source = ExampleSource(data.annotations, config)
    model = build_initial_model(config, data.categories, None)
    with pytest.raises(error, match=path.name) as raised:
        next(source.batches(model.config.input, ProcessGroup.current()))
    assert "\n" not in str(raised.value)
