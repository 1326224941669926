"""Train FCOS on COCO-format data with one worker or several; the same command again resumes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fcos_core.errors import ConfigError
from fcos_core.metrics.coco import METRIC_NAMES
from fcos_core.predictor import resolve_device
from fcos_core.training import StepReport
from jobs.parallel.cores import num_cores
from jobs.parallel.ray_train import WorkerGroup, run_workers
from jobs.parallel.resources import probe
from jobs.parallel.signals import terminate_as_interrupt
from jobs.progress import ProgressReport
from jobs.settings.train import TrainConfig
from jobs.storage import absolute, is_local, local_path
from jobs.training.data import TrainingData, load_data
from jobs.training.examples import without_area
from jobs.training.image_check import check_images
from jobs.training.loop import train
from jobs.training.metrics_log import MetricsTail, last_records, to_report
from jobs.training.progress import show_step
from jobs.training.state import saved_step
from jobs.training.training_json import (
    CHECKPOINT_NAME,
    METRICS_NAME,
    begin_or_resume,
    fingerprint_fields,
    read_left_out,
)

__all__ = ["TrainConfig", "TrainResult", "run"]

_log = logging.getLogger(__name__)

_MOST_GPU_THREADS = 8
_NAMED_WEIGHTS = {"coco", "demo"}


@dataclass(frozen=True)
class TrainResult:
    """The files of a training and the numbers of its last step.

    Attributes:
        checkpoint: file of the averaged weights, for ``--weights``.
        metrics: file with one line of JSON per step.
        last: report of the last step.
        evaluation: COCO's twelve numbers of the last evaluation; None without one.
        seconds: duration of this command.
        num_left_out: number of images that cannot be used and are left out.
        images_per_s: speed of this command; 0 when an earlier command had finished the training.
    """

    checkpoint: str
    metrics: str
    last: StepReport
    evaluation: dict[str, float] | None
    num_left_out: int
    seconds: float
    images_per_s: float

    def summary(self) -> dict[str, Any]:
        """The values of the summary line on stdout."""
        return {
            "checkpoint": self.checkpoint,
            "metrics": self.metrics,
            "steps": self.last.step,
            "loss": self.last.total,
            **(self.evaluation or {}),
            "images_left_out": self.num_left_out,
            "seconds": round(self.seconds, 3),
            "images_per_s": round(self.images_per_s, 3),
        }


def run(config: TrainConfig) -> TrainResult:
    """Train until the last step; resume from the last checkpoint of an earlier command.

    Raises:
        ConfigError: the data or the output cannot be used.
        CheckpointError: the weights to start from belong to another model.
        AnnotationError: the annotation file is malformed.
        DataError: images cannot be decoded or have another size, or a loss is not finite.
        IncompleteRunError: workers were lost too many times.
    """
    started = time.perf_counter()
    if not is_local(absolute(config.out)):
        raise ConfigError(f"--out {config.out}: training writes to a local folder")
    if local_path(absolute(config.out)) != absolute(config.out):  # safetensors opens no other
        raise ConfigError(f"--out {config.out}: the path of a training must be UTF-8")
    with terminate_as_interrupt():
        data = load_data(config)
        group = _worker_group(config)
        out = Path(absolute(config.out))
        num_before = saved_step(str(out))
        is_left = num_before < config.steps
        data = data.without(check_images(config, data) if is_left else read_left_out(config.out))
        begin_or_resume(config.out, fingerprint_fields(config, data))
        if config.skip_invalid and is_left:
            _count_left_out(data)
        if is_left:
            with ProgressReport(
                config.steps,
                num_before,
                job="train",
                unit="steps",
                images_per_row=config.batch_size,
            ) as progress:
                _train(config, data, group, progress)
    seconds = time.perf_counter() - started
    last, evaluated = last_records(out / METRICS_NAME)
    return TrainResult(
        checkpoint=str(out / CHECKPOINT_NAME),
        metrics=str(out / METRICS_NAME),
        last=to_report(last),
        evaluation=evaluated and {name: evaluated[name] for name in METRIC_NAMES},
        num_left_out=len(data.left_out.train) + len(data.left_out.val),
        seconds=seconds,
        images_per_s=(config.steps - num_before) * config.batch_size / seconds,
    )


def _count_left_out(data: TrainingData) -> None:
    is_left_out = without_area(data.annotations) & ~data.annotations.is_crowd
    num_boxes = int(is_left_out.sum())
    if num_boxes:
        boxes = "1 box without area is" if num_boxes == 1 else f"{num_boxes} boxes without area are"
        _log.warning("%s: %s left out", data.annotations.uri, boxes)


def _train(
    config: TrainConfig, data: TrainingData, group: WorkerGroup, progress: ProgressReport
) -> None:
    """Train in this process, or under Ray where there are several workers or a cluster."""
    if group.count == 1 and config.address is None:
        device = resolve_device(config.device)
        train(config, data, device, threads=config.threads, on_record=partial(show_step, progress))
        return
    if group.count > 1 and group.device == "cpu" and config.backbone_norm == "batch":
        _log.warning(
            "batch norm: each of the %d CPU workers has statistics of its own", group.count
        )
    out = Path(absolute(config.out))
    tail = MetricsTail(out / METRICS_NAME)

    each = f"{group.threads} CPUs" + (" and a GPU" if group.device == "cuda" else "")
    start = {"start": lambda: f"{group.count} training workers start, each needs {each}"}

    def show_new() -> None:
        for record in tail.new_records():
            show_step(progress, record)
        progress.show_waits(start if progress.pace.per_second is None else {})

    run_workers(
        _train_in_worker,
        {
            "config": _with_absolute_paths(config),
            "threads": group.threads,
            "left_out": data.left_out,
        },
        group,
        address=config.address,
        folder=out / ".ray-train",
        on_poll=show_new,
    )


def _train_in_worker(arguments: Mapping[str, Any], device: torch.device) -> None:
    config: TrainConfig = arguments["config"]
    data = load_data(config).without(arguments["left_out"])
    train(config, data, device, threads=arguments["threads"])


def _with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Make paths absolute, since a worker has another current folder."""
    names = ("images", "annotations", "out", "val_images", "val_annotations", "weights")
    given = {name: getattr(config, name) for name in names}
    return config.model_copy(
        update={
            name: absolute(value)
            for name, value in given.items()
            if value is not None and (name != "weights" or value not in _NAMED_WEIGHTS)
        }
    )


def _worker_group(config: TrainConfig) -> WorkerGroup:
    if config.address is None:
        device = resolve_device(config.device).type
        num_gpus, num_cpus = torch.cuda.device_count(), num_cores()
    else:
        resources = probe(config.address)
        device = resources.device if config.device == "auto" else config.device
        num_gpus, num_cpus = resources.num_gpus, resources.num_cpus
    is_cuda = device == "cuda"
    count = config.num_workers
    if count == "auto":
        # A named device, such as cuda:1, serves one worker.
        count = num_gpus if is_cuda and config.device in {"auto", "cuda"} else 1
    if config.batch_size % count:
        raise ConfigError(f"batch_size {config.batch_size}: must be a multiple of {count} workers")
    if is_cuda and config.address is None and count > num_gpus:
        raise ConfigError(f"num_workers {count}: this machine has {num_gpus} GPUs")
    share = max(1, num_cpus // max(count, num_gpus if is_cuda else 1))
    threads = config.threads or (min(share, _MOST_GPU_THREADS) if is_cuda else share)
    return WorkerGroup(count=count, threads=threads, device=device)
