"""Several workers under Ray Train give the result of one."""

import json
import os
import signal
import threading

import cv2
import numpy as np
import pytest
import torch

from fcos_core import load_checkpoint
from fcos_core.config import InputConfig
from fcos_core.errors import AnnotationError, ConfigError, DataError
from jobs.annotations.coco_json import load_annotations
from jobs.train import run
from jobs.training.sampling import plan_batches
from tests.jobs.training.small import small_training
from tests.processes import children_below

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray")]

NUMBERS = ("total", "classification", "box", "centerness", "gradient_norm")


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def odd_sizes(dataset, tmp_path_factory):
    """The same boxes on images cut to several shapes, two of them without boxes.

    The last image has a box so large that no loss of it is finite.
    """
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
    boxes = [a for a in document["annotations"] if a["image_id"] not in empty]
    # Every image three times, so that an epoch has some steps.
    copies = [
        entry | {"id": entry["id"] + 100 * k} for k in range(3) for entry in document["images"]
    ]
    boxes = [
        box | {"id": box["id"] + 10_000 * k, "image_id": box["image_id"] + 100 * k}
        for k in range(3)
        for box in boxes
    ]
    assert cv2.imwrite(str(folder / "images" / "huge.png"), np.zeros((90, 100, 3), np.uint8))
    copies.append({"id": 999, "file_name": "huge.png", "height": 90, "width": 100})
    huge = boxes[0] | {"id": 99_999, "image_id": 999, "bbox": [0, 0, 1e30, 1e30]}
    path = folder / "annotations.json"
    path.write_text(json.dumps(document | {"images": copies, "annotations": [*boxes, huge]}))
    return path


@pytest.fixture(scope="module")
def settings(odd_sizes, dataset):
    """Frozen batch norm: statistics over half a batch would be other ones."""
    return {
        "preset": "paper",  # without centre sampling the large box is learnt
        "backbone_norm": "frozen",
        "min_sizes": [64, 96],
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "checkpoint_every": 1,
        "val_annotations": str(dataset),
        "val_images": str(dataset.parent / "images"),
        "evaluate_every": 3,
        "steps": 6,
        "seed": late_seed(odd_sizes),
    }


def late_seed(odd_sizes):
    """A seed that shows the image with the large box in the last of six steps."""
    images = load_annotations(str(odd_sizes)).images
    sizes = [(image.height, image.width) for image in images]
    for seed in range(1000):
        config = small_training(odd_sizes, odd_sizes, steps=6, seed=seed, max_size=192)
        plans = list(plan_batches(sizes, config, InputConfig(min_size_px=96, max_size_px=192)))
        if [len(sizes) - 1 in plan.indices for plan in plans] == [False] * 5 + [True]:
            return seed
    raise AssertionError


@pytest.fixture(scope="module")
def alone(odd_sizes, settings, tmp_path_factory):
    """The folder of one worker: five steps, and then a loss that is not finite."""
    out = tmp_path_factory.mktemp("alone") / "out"
    with pytest.raises(DataError, match=r"step 5: losses .* on .*huge.png"):
        run(small_training(odd_sizes, out, **settings))
    assert len(metrics(out)) == 5
    return out


def assert_alike(out, expected, *, rtol):
    for ours, theirs in zip(metrics(out), metrics(expected), strict=True):
        assert ours.keys() == theirs.keys()
        for name in NUMBERS:
            assert ours[name] == pytest.approx(theirs[name], rel=rtol), (ours["step"], name)
    ours = load_checkpoint(out / "checkpoint.safetensors").state_dict()
    for name, value in load_checkpoint(expected / "checkpoint.safetensors").state_dict().items():
        torch.testing.assert_close(ours[name], value, rtol=rtol, atol=1e-7)


def test_two_workers_do_what_one_does_with_the_whole_batch(odd_sizes, settings, alone, tmp_path):
    """Step by step, and in the end both stop at the loss that is not finite."""
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"step 5: losses .* on .*huge.png") as caught:
        run(small_training(odd_sizes, out, num_workers=2, **settings))
    assert str(caught.value).count(".png") == 2  # the share of the worker whose loss it was
    assert_alike(out, alone, rtol=1e-5)
    assert not (out / ".ray-train").exists()


@pytest.mark.slow
def test_a_killed_worker_does_not_change_the_result(odd_sizes, settings, alone, tmp_path):
    out, over = tmp_path / "out", threading.Event()
    killed: list[int] = []

    def kill_one():
        while not over.wait(0.005) and not killed:
            if (out / "state.safetensors").is_file() and len(metrics(out)) >= 3:
                names = children_below(os.getpid()).items()
                for pid in [pid for pid, name in names if "RayTrainWorker" in name][-1:]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        with pytest.raises(DataError, match=r"step 5: losses .* on .*huge.png"):
            run(small_training(odd_sizes, out, num_workers=2, **settings))
    finally:
        over.set()
        killer.join()
    assert killed
    assert_alike(out, alone, rtol=1e-5)


@pytest.mark.slow
def test_one_worker_under_ray_train_gives_the_result_of_one_without(
    odd_sizes, settings, alone, tmp_path
):
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"step 5: losses .* on .*huge.png"):
        run(small_training(odd_sizes, out, num_workers=1, address="auto", **settings))
    assert_alike(out, alone, rtol=1e-6)


@pytest.mark.slow
def test_the_error_of_one_worker_ends_the_training_of_all(dataset, tmp_path):
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
