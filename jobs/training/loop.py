"""The training loop of one worker, from the saved state to the last step."""

# torch leaves the type of manual_seed() partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch

from fcos_core.errors import ConfigError
from fcos_core.training import OptimizationConfig, ProcessGroup, StepReport, Trainer, TrainingBatch
from jobs.rundir.fingerprint import explain_difference
from jobs.settings.train import TrainConfig
from jobs.storage import absolute
from jobs.training.checkpointing import CheckpointWriter
from jobs.training.data import TrainingData
from jobs.training.examples import ExampleSource
from jobs.training.initial_model import build_initial_model
from jobs.training.metrics_log import Record, to_record
from jobs.training.state import load_state
from jobs.training.training_json import fingerprint_fields, read_training_json
from jobs.training.validation import Validation


def train(
    config: TrainConfig,
    data: TrainingData,
    device: torch.device,
    *,
    threads: int | None = None,
    on_record: Callable[[Record], None] | None = None,
) -> None:
    """Train until the last step; the worker of rank 0 writes all files.

    The training's ``training.json`` is written already. ``threads`` None leaves torch's default;
    ``on_record`` is called on rank 0 with the record of each step.
    """
    group = ProcessGroup.current()
    if threads is not None:
        torch.set_num_threads(threads)
    _check_same(config.out, fingerprint_fields(config, data))
    torch.manual_seed(config.seed)
    model = build_initial_model(config, data.categories, data.weights)
    trainer = Trainer(model, _optimization_config(config), device, group)
    load_state(absolute(config.out), trainer)
    source = ExampleSource(data.annotations, config)
    validation = data.val_annotations and Validation(
        data.val_annotations,
        config.val_images or config.images,
        precision=config.precision,
        batch_size=config.batch_size // group.size,
        device=device,
        group=group,
    )
    with CheckpointWriter.opened(config, trainer, on_record) as writer:
        batches = source.batches(model.config.input, group, first_step=trainer.num_done)
        with contextlib.closing(batches):
            for batch in batches:
                report = _step(trainer, batch)
                evaluation = None
                if validation and config.is_evaluated_at(report.step):
                    evaluation = validation.evaluate(trainer.average)
                if writer is not None:
                    writer.add(to_record(report, evaluation))


def _step(trainer: Trainer, batch: TrainingBatch) -> StepReport:
    try:
        return trainer.step(batch)
    except torch.OutOfMemoryError as error:
        rows, columns = batch.padded_shape
        raise ConfigError(
            f"step {trainer.num_done}: {len(batch.examples)} images of {columns} x {rows} pixels "
            f"do not fit into the memory of {trainer.device}; try a smaller batch_size"
        ) from error


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
        freeze_stages=config.freeze_stages,
    )


def _check_same(out: str, fields: dict[str, object]) -> None:
    differences = explain_difference(read_training_json(out), fields)
    if differences:
        raise ConfigError(
            f"--out {out}: this worker sees other settings or files than the command: {differences}"
        )
