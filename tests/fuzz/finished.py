"""A finished run, made as ``fcos detect`` makes it but in this process: with retries, no Ray."""

import json
from pathlib import Path

import cv2
import numpy as np

from jobs.parallel.resources import probe
from jobs.planning.begin import begin_run, plan_run, reopen_run
from jobs.planning.model_card import read_model_card
from jobs.planning.run_json import write_run_json
from jobs.rundir.directory import RunDirectory
from jobs.rundir.retries import plan_retry
from jobs.rundir.shard import Shard
from jobs.settings.detect import DetectConfig
from jobs.storage.weights import resolve_weights
from jobs.worker.worker import Worker
from tests.jobs.worker.runs import worker_settings

NUM_IMAGES = 6
BROKEN = 2


def finish_six_images(place: Path, weights: Path) -> Path:
    """Make ``images``, ``truth.json`` and ``run``, of three shards, one with a retry.

    The retry recovered an image that had been quarantined.
    """
    (place / "images").mkdir()
    for i in range(NUM_IMAGES):
        pixels = np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8)
        assert cv2.imwrite(str(place / "images" / f"{i}.jpg"), pixels)
    (place / "tiny.safetensors").symlink_to(weights)
    boxes = [{"id": 1, "image_id": 2, "category_id": 3, "bbox": [1, 2, 30, 30]}]
    images = [
        {"id": i + 1, "file_name": f"{i}.jpg", "width": 64, "height": 48} for i in range(NUM_IMAGES)
    ]
    categories = [{"id": id_, "name": f"thing_{id_}"} for id_ in (3, 7, 11)]
    document = {"images": images, "annotations": boxes, "categories": categories}
    (place / "truth.json").write_text(json.dumps(document))
    broken = place / "images" / f"{BROKEN}.jpg"
    broken.write_bytes(b"")
    config = DetectConfig(
        inputs=(str(place / "images"),),
        out=str(place / "run"),
        weights=str(place / "tiny.safetensors"),
        shard_size=2,
        batch_size=1,
        threads_per_actor=1,
    )
    finish(config, repair=broken, source=place / "images" / "1.jpg")
    return place


def finish(config: DetectConfig, repair: Path | None = None, source: Path | None = None) -> None:
    """Do a run.

    Args:
        config: settings of the run.
        repair: an image that is replaced once the run is done, and tried again.
        source: the file that replaces it.
    """
    model, directory = read_model_card(config.weights), RunDirectory(config.out)
    begin_run(directory, plan_run(config, model, lambda: probe(None)))
    opened = reopen_run(directory)
    write_run_json(opened, config, model)
    shards = [Shard(number, tuple(items)) for number, items in opened.manifest.iterate()]
    attempt: int | None = None
    for _ in range(2):
        settings = worker_settings(
            directory,
            resolve_weights(config.weights).path,
            run_id=opened.run_id,
            engine=opened.fields["engine"],
            precision=opened.fields["precision"],
            batch_size=opened.fields["batch_size"],
            threads=opened.fields["threads_per_actor"],
            max_pixels=opened.fields["max_pixels"],
            attempt=attempt,
        )
        worker = Worker(settings)
        for shard in shards:
            worker.process(shard)
        worker.close()
        if repair is None or source is None:
            return
        repair.write_bytes(source.read_bytes())
        retry = plan_retry(directory)
        shards, attempt = list(retry.shards), retry.number
