import json

import pytest
import torch
from pydantic import ValidationError

from fcos_core import load_checkpoint
from fcos_core.errors import AnnotationError, CheckpointError, ConfigError, DataError
from fcos_core.metrics.coco import METRIC_NAMES
from jobs.annotations.coco_json import load_annotations
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.storage.weights import resolve_weights
from jobs.synthetic import CATEGORIES, generate
from jobs.train import run
from jobs.training.examples import ExampleSource
from tests.fcos_core.models import torchvision_state_dict
from tests.jobs.training.small import small_training


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("data"), num_images=6, seed=1)


def config(dataset, out, **changes):
    return small_training(dataset, out, **changes)


def test_training_writes_a_checkpoint_with_its_categories_and_settings(dataset, tmp_path):
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
    totals = []
    for name in ("a", "b"):
        run(config(dataset, tmp_path / name, steps=4))
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        totals.append([json.loads(line)["total"] for line in lines])
    assert totals[0] == totals[1]


def test_training_to_s3_is_refused_before_anything_is_read(dataset):
    with pytest.raises(ConfigError, match="--out s3://bucket/model: training writes to a local"):
        run(small_training(dataset, "s3://bucket/model"))


def test_a_flipped_image_keeps_its_boxes_on_its_objects(dataset, tmp_path):
    source = ExampleSource(load_annotations(str(dataset)), config(dataset, tmp_path))
    straight, flipped = source.load(0), source.load(0, is_flipped=True)
    assert torch.equal(
        torch.from_numpy(flipped.image.copy()), torch.from_numpy(straight.image).flip(1)
    )
    width = straight.image.shape[1]
    expected = straight.ground_truth.boxes[:, [2, 1, 0, 3]]
    expected = torch.where(torch.tensor([True, False, True, False]), width - expected, expected)
    assert torch.equal(flipped.ground_truth.boxes, expected)


def test_crowd_regions_are_no_examples(dataset, tmp_path):
    document = json.loads(dataset.read_text())
    for annotation in document["annotations"]:
        annotation["iscrowd"] = 1
    path = tmp_path / "crowd.json"
    path.write_text(json.dumps(document))
    source = ExampleSource(load_annotations(str(path)), config(dataset, tmp_path))
    assert len(source.load(0).ground_truth.labels) == 0


def test_a_box_without_area_is_named_before_training(dataset, tmp_path):
    document = json.loads(dataset.read_text())
    document["annotations"][0]["bbox"][2] = 0
    num_boxes = sum(a["image_id"] == 1 for a in document["annotations"])
    images = str(dataset.parent / "images")
    path = tmp_path / "flat.json"
    path.write_text(json.dumps(document))
    with pytest.raises(
        AnnotationError, match=r"flat.json, image 1 \(000000.jpg\), box 0: x_max"
    ) as raised:
        run(config(dataset, tmp_path / "out", images=images, annotations=str(path)))
    remedy = "; skip_invalid: true in the config file leaves such boxes out"
    assert str(raised.value).endswith(remedy)
    skipping = config(dataset, tmp_path, annotations=str(path), skip_invalid=True)
    source = ExampleSource(load_annotations(str(path)), skipping)
    assert len(source.ground_truths[0].boxes) == num_boxes - 1


def test_boxes_without_area_that_are_left_out_are_counted_in_one_line(
    dataset, tmp_path, caplog: pytest.LogCaptureFixture
):
    document = json.loads(dataset.read_text())
    for place, annotation in enumerate(document["annotations"][:3]):
        annotation["bbox"][2 + place % 2] = 0
    document["annotations"][2]["iscrowd"] = 1  # a crowd region is no example anyway
    path = tmp_path / "flat.json"
    path.write_text(json.dumps(document))
    images = str(dataset.parent / "images")
    flat = {"images": images, "annotations": str(path), "skip_invalid": True, "steps": 1}
    run(config(dataset, tmp_path / "out", **flat))
    said = [message for message in caplog.messages if "without area" in message]
    assert said == [f"{path}: 2 boxes without area are left out"]


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
    first = run(config(dataset, tmp_path / "first", steps=30))
    again = run(config(dataset, tmp_path / "again", steps=1, weights=first.checkpoint))
    fresh = run(config(dataset, tmp_path / "fresh", steps=1))
    assert again.last.total < 0.9 * fresh.last.total
    # The same weights under another path make the same training.
    same = run(config(dataset, tmp_path / "again", steps=1, weights=f"file://{first.checkpoint}"))
    assert same.last == again.last
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


def test_evaluation_goes_into_the_metrics_and_the_result(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    result = run(
        config(dataset, out, val_annotations=str(dataset), evaluate_every=3, tensorboard=True)
    )
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "AP" in line] == [3, 6, 8]
    assert result.evaluation == {name: lines[-1][name] for name in METRIC_NAMES}
    assert result.summary()["AR100"] == lines[-1]["AR100"]
    assert capsys.readouterr().err.count("evaluation at step") == 3
    assert [path.name[:11] for path in (out / "tensorboard").iterdir()] == ["events.out."]


def test_validation_gives_the_numbers_of_detect_and_evaluate(dataset, tmp_path):
    from fcos_core import Predictor
    from fcos_core.training import ProcessGroup
    from jobs.training.validation import Validation

    checkpoint = resolve_weights("demo").path
    validation = Validation(
        load_annotations(str(dataset)),
        str(dataset.parent / "images"),
        precision="fp32",
        batch_size=4,
        device=torch.device("cpu"),
        group=ProcessGroup(),
    )
    numbers = validation.evaluate(load_checkpoint(checkpoint))
    assert numbers["AP"] > 0.5
    results = []
    predictor = Predictor(load_checkpoint(checkpoint), device="cpu", score_threshold=0.05)
    source = ExampleSource(load_annotations(str(dataset)), config(dataset, tmp_path))
    for i, image in enumerate(source.annotations.images):
        (found,) = predictor([source.load(i).image])
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            x1, y1, x2, y2 = box.tolist()
            category = predictor.model.categories[label].id
            bbox = [x1, y1, x2 - x1, y2 - y1]
            results.append(
                {"image_id": image.id, "category_id": category, "bbox": bbox, "score": float(score)}
            )
    (tmp_path / "results.json").write_text(json.dumps(results))
    scored = evaluate(
        EvaluateConfig(annotations=str(dataset), results=str(tmp_path / "results.json"))
    )
    assert numbers == pytest.approx(scored.headline, abs=1e-6)


def test_evaluation_needs_the_same_categories(dataset, tmp_path):
    document = json.loads(dataset.read_text())
    document["categories"][0]["name"] = "blob"
    (tmp_path / "other.json").write_text(json.dumps(document))
    with pytest.raises(ConfigError, match=r"other.json: its categories differ from those of"):
        run(config(dataset, tmp_path / "out", val_annotations=str(tmp_path / "other.json")))
    with pytest.raises(ValidationError, match="evaluate_every is given without val_annotations"):
        config(dataset, tmp_path / "out", evaluate_every=3)


def test_an_image_of_another_size_than_its_entry_is_refused(dataset, tmp_path):
    document = json.loads(dataset.read_text())
    for image in document["images"]:
        image["height"] = 200
    (tmp_path / "a.json").write_text(json.dumps(document))
    images = str(dataset.parent / "images")
    with pytest.raises(
        DataError,
        match=r"\d.jpg: has 320 x 320 pixels, .*a.json says 320 x 200 \(image \d\): its boxes",
    ):
        run(config(dataset, tmp_path / "out", images=images, annotations=str(tmp_path / "a.json")))


def test_torchvisions_weights_start_a_model_of_other_classes(dataset, tmp_path):
    torch.save(torchvision_state_dict(size=64), tmp_path / "fcos_resnet50_fpn.pth")
    published = {"preset": "torchvision", "backbone": "resnet50", "backbone_width": 1.0}
    full = {"fpn_channels": 256, "head_convs": 4, "head_groups": 32, "backbone_norm": "frozen"}
    result = run(
        config(
            dataset,
            tmp_path / "out",
            weights=str(tmp_path / "fcos_resnet50_fpn.pth"),
            freeze_stages=2,
            average_decay=0.0,
            learning_rate=1e-4,
            batch_size=1,
            steps=1,
            **published,
            **full,
        )
    )
    model, started = load_checkpoint(result.checkpoint), torchvision_state_dict(size=64)
    assert model.categories == CATEGORIES
    trained = model.state_dict()
    for name in ("layer1.0.conv1.weight", "conv1.weight", "bn1.running_mean"):
        assert torch.equal(trained[f"backbone.body.{name}"], started[f"backbone.body.{name}"])
    name = "backbone.body.layer2.0.conv1.weight"
    assert 0 < (trained[name] - started[name]).abs().max() < 2e-4
    assert trained["head.classification_head.cls_logits.bias"].shape == (8,)
