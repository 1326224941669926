"""Several workers under Ray Train do what one does alone."""

import json
import os
import signal
import threading
import time

import cv2
import pytest
import torch

from fcos_core import load_checkpoint, save_checkpoint
from fcos_core.errors import AnnotationError, ConfigError, DataError
from jobs.train import run
from tests.jobs.runtime.processes import children_below
from tests.jobs.training.small import small_training

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray")]

NUMBERS = ("total", "classification", "box", "centerness", "gradient_norm")


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def odd_sizes(dataset, tmp_path_factory):
    """The same boxes on pictures cut to several shapes, two of them without boxes."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "images").mkdir()
    document = json.loads(dataset.read_text())
    for i, entry in enumerate(document["images"]):
        image = cv2.imread(str(dataset.parent / "images" / entry["file_name"]))
        image = image[: 320 - 40 * (i % 3), : 320 - 30 * (i % 4)]
        entry["file_name"] = f"{i}.png"
        entry["height"], entry["width"] = image.shape[:2]
        assert cv2.imwrite(str(folder / "images" / entry["file_name"]), image)
    empty = {entry["id"] for entry in document["images"][:2]}
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] not in empty]
    path = folder / "annotations.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def settings(odd_sizes):
    """Frozen batch norm: statistics over half a batch would be other ones."""
    return {
        "backbone_norm": "frozen",
        "min_sizes": [64, 96],
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "steps": 6,
        "val_annotations": str(odd_sizes),
        "evaluate_every": 3,
    }


@pytest.fixture(scope="module")
def alone(odd_sizes, settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "out"
    run(small_training(odd_sizes, out, **settings))
    return out


def assert_alike(found, expected, *, rtol):
    assert [line["step"] for line in found] == [line["step"] for line in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name in NUMBERS:
            assert ours[name] == pytest.approx(theirs[name], rel=rtol), (ours["step"], name)


def test_two_workers_do_what_one_does_with_the_whole_batch(odd_sizes, settings, alone, tmp_path):
    """Also when one of them is killed on the way: all go on from the last checkpoint."""
    out, killed = tmp_path / "out", threading.Event()

    def kill_one():
        while not killed.is_set():
            if out.is_dir() and (out / "metrics.jsonl").is_file() and len(metrics(out)) >= 3:
                workers = [
                    pid
                    for pid, name in children_below(os.getpid()).items()
                    if "RayTrainWorker" in name
                ]
                if workers:
                    os.kill(workers[-1], signal.SIGKILL)
                    killed.set()
            time.sleep(0.005)

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    result = run(small_training(odd_sizes, out, num_workers=2, checkpoint_every=2, **settings))
    assert killed.is_set()
    killer.join()
    assert result.evaluation is not None
    assert_alike(metrics(out), metrics(alone), rtol=1e-5)
    ours = load_checkpoint(out / "checkpoint.safetensors").state_dict()
    for name, value in load_checkpoint(alone / "checkpoint.safetensors").state_dict().items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-7)
    assert not (out / ".ray-train").exists()


def test_one_worker_under_ray_train_is_the_one_without(odd_sizes, settings, alone, tmp_path):
    out = tmp_path / "out"
    run(small_training(odd_sizes, out, num_workers=1, address="auto", **settings))
    assert_alike(metrics(out), metrics(alone), rtol=1e-6)


def test_a_loss_that_is_not_finite_ends_all_workers_with_the_pictures_that_made_it(
    dataset, alone, tmp_path
):
    model = load_checkpoint(alone / "checkpoint.safetensors")
    with torch.no_grad():
        # Only the white picture lets this overflow.
        model.backbone.body.conv1.weight.fill_(3e37)
    save_checkpoint(tmp_path / "spoilt.safetensors", model)
    config = small_training(
        dataset,
        tmp_path / "out",
        num_workers=2,
        weights=str(tmp_path / "spoilt.safetensors"),
        backbone_norm="frozen",
    )
    with pytest.raises(DataError, match=r"step 0: losses .*nan.* on .*\d+\.jpg"):
        run(config)


def test_what_one_worker_cannot_use_ends_all_with_its_own_error(dataset, tmp_path):
    document = json.loads(dataset.read_text())
    document["images"][3]["width"] += 2
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(document))
    images = str(dataset.parent / "images")
    config = small_training(dataset, tmp_path / "out", images=images, annotations=str(path))
    with pytest.raises(AnnotationError, match=r"has 320 x 320 pixels, .*says 322 x 320 \(image 4"):
        run(config.model_copy(update={"num_workers": 2, "batch_size": 8}))


def test_workers_that_cannot_share_the_batch_are_refused(dataset, tmp_path):
    with pytest.raises(ConfigError, match="batch_size 4: must be a multiple of 3 workers"):
        run(small_training(dataset, tmp_path / "out", num_workers=3))
