"""Train FCOS on COCO-format data: the local loop over ``fcos_core.training``."""

# torch leaves the types of manual_seed() and from_numpy() partly unknown.
# pyright: reportUnknownMemberType=false

import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from fcos_core.checkpoint import BATCH_COUNTER, load_checkpoint, save_checkpoint
from fcos_core.config import BackboneConfig, BackboneName, ModelConfig, PresetName, preset_config
from fcos_core.errors import CheckpointError, ConfigError
from fcos_core.model.detector import FCOS
from fcos_core.predictor import Precision, resolve_device
from fcos_core.structures import Category, GroundTruth
from fcos_core.training import OptimizationConfig, StepReport, Trainer, TrainingExample
from jobs.media.images import decode_image
from jobs.storage import absolute, join, storage_for
from jobs.storage.weights import resolve_weights
from jobs.tables.coco_json import CocoAnnotations, CocoImage, load_annotations

CHECKPOINT_NAME = "checkpoint.safetensors"
METRICS_NAME = "metrics.jsonl"
CLASS_PREDICTOR = "head.classification_head.cls_logits."
# How many batches are decoded ahead of the step that needs them.
BATCHES_AHEAD = 4


class TrainConfig(BaseModel):
    """Settings of ``fcos train``.

    Sizes are in pixels; ``backbone_width``, ``fpn_channels`` and the head's settings make smaller
    models of the same kind. ``weights`` are what to start from: ``coco``, ``demo``, a path or a uri
    of a model of the same shape; where its classes are others, the class predictor starts anew. The
    defaults train a ResNet-50 as the paper's improved version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str
    annotations: str
    out: str
    preset: PresetName = "improved"
    backbone: BackboneName = "resnet50"
    weights: str | None = None
    backbone_width: float = Field(default=1.0, gt=0, le=1)
    backbone_norm: Literal["batch", "frozen"] = "batch"
    fpn_channels: int = Field(default=256, ge=1)
    head_convs: int = Field(default=4, ge=0)
    head_groups: int = Field(default=32, ge=1)
    min_size: int = Field(default=800, ge=32)
    max_size: int = Field(default=1333, ge=32)
    steps: int = Field(default=90_000, ge=1)
    batch_size: int = Field(default=16, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    warmup_steps: int = Field(default=500, ge=0)
    schedule: Literal["cosine", "step"] = "cosine"
    average_decay: float = Field(default=0.998, ge=0, lt=1)
    max_gradient_norm: float = Field(default=10.0, gt=0)
    precision: Precision = "fp32"
    flip: bool = True
    seed: int = Field(default=0, ge=0)
    device: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    store: Literal["float32", "float16"] = "float32"


@dataclass(frozen=True)
class TrainResult:
    """Where the model is and how the last step went."""

    checkpoint: str
    metrics: str
    last: StepReport
    seconds: float
    images_per_s: float

    def summary(self) -> dict[str, Any]:
        """The command's last line."""
        return {
            "checkpoint": self.checkpoint,
            "metrics": self.metrics,
            "steps": self.last.step,
            "loss": self.last.total,
            "seconds": round(self.seconds, 3),
            "images_per_s": round(self.images_per_s, 3),
        }


def run(config: TrainConfig) -> TrainResult:
    """Train, and write the averaged weights every ``checkpoint_every`` steps and at the end.

    Raises:
        ConfigError: the data or the output cannot be used.
        CheckpointError: the weights to start from are of another model.
        AnnotationError: the annotation file is malformed.
        ImageError: a picture cannot be decoded.
        DataError: a loss is not finite.
    """
    annotations = load_annotations(absolute(config.annotations))
    device = resolve_device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = FCOS(
        _model_config(config, len(annotations.categories)),
        [Category(id=c.id, name=c.name) for c in annotations.categories],
    )
    if config.weights is not None:
        _start_from(model, config.weights)
    trainer = Trainer(model, _optimization_config(config), device)
    examples = ExampleSource(annotations, absolute(config.images), config)
    out = _output_folder(config.out)
    started = time.perf_counter()
    log = ProgressLog(config, started)
    last: StepReport | None = None
    with (out / METRICS_NAME).open("w") as metrics:
        for batch in examples.batches():
            last = trainer.step(batch)
            metrics.write(json.dumps({**asdict(last), "total": last.total}) + "\n")
            log.report(last)
            if last.step % config.checkpoint_every == 0 or last.step == config.steps:
                metrics.flush()
                _save(out / CHECKPOINT_NAME, trainer, config)
    assert last is not None
    seconds = time.perf_counter() - started
    return TrainResult(
        checkpoint=str(out / CHECKPOINT_NAME),
        metrics=str(out / METRICS_NAME),
        last=last,
        seconds=seconds,
        images_per_s=config.steps * config.batch_size / seconds,
    )


class ExampleSource:
    """Batches of decoded pictures in a seeded order, read ahead in threads.

    Args:
        annotations: of the pictures.
        folder: that ``file_name`` is relative to.
        config: batch size, number of steps, flips, seed.

    Raises:
        ConfigError: there are no pictures.
        AnnotationError: a box has no area.
    """

    def __init__(self, annotations: CocoAnnotations, folder: str, config: TrainConfig) -> None:
        if not annotations.images:
            raise ConfigError(f"{annotations.uri}: lists no images, at least 1 is needed")
        self.images = annotations.images
        self.folder = folder
        self.config = config
        self.ground_truths = _ground_truths(annotations)

    def batches(self) -> Iterator[list[TrainingExample]]:
        """As many batches as the run has steps.

        Yields:
            ``batch_size`` examples.
        """
        size, steps = self.config.batch_size, self.config.steps
        with ThreadPoolExecutor(max_workers=2) as pool:
            order = self._order()
            pending = [
                pool.submit(self._load, next(order))
                for _ in range(min(steps, BATCHES_AHEAD) * size)
            ]
            for step in range(steps):
                batch = [future.result() for future in pending[:size]]
                del pending[:size]
                if step + BATCHES_AHEAD < steps:
                    pending += [pool.submit(self._load, next(order)) for _ in range(size)]
                yield batch

    def _order(self) -> Iterator[tuple[int, bool]]:
        """Shuffle every epoch anew.

        Yields:
            Index of the picture, and whether it is flipped.
        """
        rng = np.random.default_rng(self.config.seed)
        while True:
            for index in rng.permutation(len(self.images)):
                yield int(index), self.config.flip and bool(rng.integers(2))

    def _load(self, choice: tuple[int, bool]) -> TrainingExample:
        index, is_flipped = choice
        described = self.images[index]
        uri = join(self.folder, described.file_name)
        image = decode_image(storage_for(uri).read(uri), place=uri)
        truth = self.ground_truths[described.id]
        if is_flipped:
            image = np.ascontiguousarray(image[:, ::-1])
            boxes = truth.boxes.clone()
            boxes[:, [0, 2]] = image.shape[1] - truth.boxes[:, [2, 0]]
            truth = replace(truth, boxes=boxes)
        return TrainingExample(image, truth, uri)


class ProgressLog:
    """A line on stderr at the first step, every ten seconds, and at the last."""

    INTERVAL_S = 10.0

    def __init__(self, config: TrainConfig, started: float) -> None:
        self.config = config
        self.started = started
        self.next_at = started

    def report(self, step: StepReport) -> None:
        """Say how training goes, when it is time to."""
        now = time.perf_counter()
        if now < self.next_at and step.step != self.config.steps:
            return
        self.next_at = now + self.INTERVAL_S
        rate = step.step / (now - self.started)
        left_s = (self.config.steps - step.step) / rate
        print(  # noqa: T201 (progress belongs on stderr)
            f"step {step.step}/{self.config.steps}  loss {step.total:.3f} (class "
            f"{step.classification:.3f}, box {step.box:.3f}, centre {step.centerness:.3f})  "
            f"{rate * self.config.batch_size:.1f} images/s  {left_s / 60:.1f} min left",
            file=sys.stderr,
            flush=True,
        )


def _ground_truths(annotations: CocoAnnotations) -> dict[int, GroundTruth]:
    """Boxes as xyxy and labels per image; crowd regions are no examples of one object."""
    label_of = {c.id: label for label, c in enumerate(annotations.categories)}
    found = annotations.annotations
    by_image: dict[int, list[int]] = {image.id: [] for image in annotations.images}
    for i in np.flatnonzero(~found.is_crowd):
        by_image[int(found.image_ids[i])].append(int(i))
    truths: dict[int, GroundTruth] = {}
    for image in annotations.images:
        chosen = by_image[image.id]
        boxes = torch.from_numpy(found.boxes[chosen]).float().reshape(-1, 4)
        labels = [label_of[int(c)] for c in found.category_ids[chosen]]
        truth = GroundTruth(
            torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
            torch.tensor(labels, dtype=torch.int64),
        )
        truth.check(_place(annotations, image), len(label_of))
        truths[image.id] = truth
    return truths


def _place(annotations: CocoAnnotations, image: CocoImage) -> str:
    return f"{annotations.uri}, image {image.id} ({image.file_name})"


def _model_config(config: TrainConfig, num_classes: int) -> ModelConfig:
    base = preset_config(config.preset, num_classes, config.backbone)
    return replace(
        base,
        input=replace(base.input, min_size_px=config.min_size, max_size_px=config.max_size),
        backbone=BackboneConfig(
            name=config.backbone,
            width=config.backbone_width,
            norm=config.backbone_norm,
            fpn_channels=config.fpn_channels,
        ),
        head=replace(base.head, num_convs=config.head_convs, num_groups=config.head_groups),
    )


def _start_from(model: FCOS, weights: str) -> None:
    """Copy another model's weights; a class predictor of other classes is left out.

    Raises:
        CheckpointError: they are of a model of another shape.
    """
    source = load_checkpoint(resolve_weights(weights).path)
    given, wanted = source.state_dict(), model.state_dict()
    if source.categories != model.categories:
        for name in [name for name in given if name.startswith(CLASS_PREDICTOR)]:
            given[name] = wanted[name]
    given = {name: value for name, value in given.items() if not name.endswith(BATCH_COUNTER)}
    for name, value in wanted.items():
        if name.endswith(BATCH_COUNTER):
            given[name] = value
    for name in sorted(given.keys() ^ wanted.keys()):
        where = "lacks" if name in wanted else "has"
        raise CheckpointError(f"weights {weights}: {where} {name}, unlike the model to train")
    for name, value in given.items():
        if value.shape != wanted[name].shape:
            raise CheckpointError(
                f"weights {weights}: {name} has shape {tuple(value.shape)}, the model to train "
                f"has {tuple(wanted[name].shape)}"
            )
    model.load_state_dict(given)


def _optimization_config(config: TrainConfig) -> OptimizationConfig:
    return OptimizationConfig(
        num_steps=config.steps,
        optimizer=config.optimizer,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_steps,
        schedule=config.schedule,
        max_gradient_norm=config.max_gradient_norm,
        average_decay=config.average_decay,
        precision=config.precision,
    )


def _output_folder(out: str) -> Path:
    folder = Path(absolute(out))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder}: {error.strerror or error}") from error
    return folder


def _save(path: Path, trainer: Trainer, config: TrainConfig) -> None:
    dtype = torch.float16 if config.store == "float16" else torch.float32
    made_by = {"training": config.model_dump_json(), "step": str(trainer.num_done)}
    save_checkpoint(path, trainer.average, dtype=dtype, extra=made_by)
