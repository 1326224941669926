import json

import pytest
import torch
from pydantic import ValidationError

from fcos_core import load_checkpoint
from fcos_core.errors import AnnotationError, CheckpointError, ConfigError
from jobs.synthetic import CATEGORIES, generate
from jobs.tables.coco_json import load_annotations
from jobs.train import ExampleSource, TrainConfig, run

SMALL = {
    "backbone": "resnet18",
    "backbone_width": 0.25,
    "fpn_channels": 32,
    "head_convs": 1,
    "head_groups": 8,
    "min_size": 96,
    "max_size": 96,
    "batch_size": 4,
    "warmup_steps": 2,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data"), num_images=6, seed=1)


def config(dataset, out, **changes):
    paths = {"images": str(dataset.parent / "images"), "annotations": str(dataset), "out": str(out)}
    return TrainConfig(**(paths | SMALL | {"steps": 8} | changes))


def test_training_writes_a_checkpoint_that_knows_its_classes_and_how_it_was_made(dataset, tmp_path):
    result = run(config(dataset, tmp_path / "out", checkpoint_every=3, store="float16"))
    model = load_checkpoint(result.checkpoint)
    assert model.categories == CATEGORIES
    assert model.config.input.min_size_px == 96
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["step"] for line in lines] == list(range(1, 9))
    assert lines[-1]["total"] == result.last.total
    assert result.summary()["steps"] == 8
    from safetensors import safe_open

    with safe_open(result.checkpoint, framework="pt") as file:
        made_by = json.loads(file.metadata()["training"])
    assert made_by["seed"] == 0
    assert made_by["steps"] == 8


def test_the_same_seed_gives_the_same_losses_bit_for_bit(dataset, tmp_path):
    # Ray and pytest may have set another number of threads: the promise holds at equal ones.
    totals = []
    for name in ("a", "b"):
        run(config(dataset, tmp_path / name, steps=4, threads=1))
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        totals.append([json.loads(line)["total"] for line in lines])
    assert totals[0] == totals[1]


def test_a_flipped_picture_keeps_its_boxes_on_its_objects(dataset, tmp_path):
    settings = config(dataset, tmp_path)
    source = ExampleSource(load_annotations(str(dataset)), settings.images, settings)
    straight, flipped = source._load((0, False)), source._load((0, True))
    assert torch.equal(
        torch.from_numpy(flipped.image.copy()), torch.from_numpy(straight.image).flip(1)
    )
    width = straight.image.shape[1]
    expected = straight.ground_truth.boxes[:, [2, 1, 0, 3]]
    expected = torch.where(torch.tensor([True, False, True, False]), width - expected, expected)
    assert torch.equal(flipped.ground_truth.boxes, expected)


def test_every_epoch_sees_every_picture_once_in_another_order(dataset, tmp_path):
    settings = config(dataset, tmp_path, flip=False)
    order = ExampleSource(load_annotations(str(dataset)), settings.images, settings)._order()
    epochs = [[next(order)[0] for _ in range(6)] for _ in range(4)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_crowd_regions_are_no_examples(dataset, tmp_path):
    document = json.loads(dataset.read_text())
    for annotation in document["annotations"]:
        annotation["iscrowd"] = 1
    path = tmp_path / "crowd.json"
    path.write_text(json.dumps(document))
    settings = config(dataset, tmp_path)
    source = ExampleSource(load_annotations(str(path)), settings.images, settings)
    assert len(source._load((0, False)).ground_truth.labels) == 0


def test_a_box_without_area_is_named_before_training(dataset, tmp_path):
    document = json.loads(dataset.read_text())
    document["annotations"][0]["bbox"][2] = 0
    path = tmp_path / "flat.json"
    path.write_text(json.dumps(document))
    with pytest.raises(AnnotationError, match=r"flat.json, image 1 \(000000.jpg\), box 0: x_max"):
        run(config(dataset, tmp_path / "out", annotations=str(path)))


def test_a_file_where_the_output_should_go_is_named(dataset, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match=r"--out .*file"):
        run(config(dataset, tmp_path / "file"))


def test_groups_that_do_not_divide_the_channels_are_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match="fpn_channels 32: must be a multiple of num_groups 7"):
        run(config(dataset, tmp_path / "out", head_groups=7))


def test_unknown_settings_are_refused(dataset, tmp_path):
    with pytest.raises(ValidationError, match="epochs"):
        config(dataset, tmp_path, epochs=3)


def test_training_starts_from_given_weights_and_refuses_another_shape(dataset, tmp_path):
    first = run(config(dataset, tmp_path / "first", steps=30, threads=1))
    again = run(config(dataset, tmp_path / "again", steps=1, weights=first.checkpoint, threads=1))
    fresh = run(config(dataset, tmp_path / "fresh", steps=1, threads=1))
    assert again.last.total < 0.9 * fresh.last.total
    with pytest.raises(CheckpointError, match=r"first.*has shape .*, the model to train has"):
        run(config(dataset, tmp_path / "out", weights=first.checkpoint, fpn_channels=16))
    with pytest.raises(CheckpointError, match=r"first.*(has|lacks) .*, unlike the model to train"):
        run(config(dataset, tmp_path / "out", weights=first.checkpoint, head_convs=2))


def test_other_classes_start_with_a_new_class_predictor(dataset, tmp_path):
    first = run(config(dataset, tmp_path / "first", steps=5))
    document = json.loads(dataset.read_text())
    document["categories"] = [{"id": 3, "name": "thing"}]
    for annotation in document["annotations"]:
        annotation["category_id"] = 3
    path = tmp_path / "one.json"
    path.write_text(json.dumps(document))
    result = run(
        config(dataset, tmp_path / "b", annotations=str(path), weights=first.checkpoint, steps=2)
    )
    assert [c.name for c in load_checkpoint(result.checkpoint).categories] == ["thing"]
