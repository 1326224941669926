"""One worker's training, from the saved state to the last step: alone, or one of several."""

# torch leaves the type of manual_seed() partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch

from fcos_core.errors import ConfigError
from fcos_core.training import OptimizationConfig, Peers, StepReport, Trainer, TrainingBatch
from jobs.rundir.fingerprint import explain_difference
from jobs.settings.train import TrainConfig
from jobs.storage import absolute
from jobs.training.checkpointing import Recorder
from jobs.training.data import TrainingData
from jobs.training.examples import ExampleSource
from jobs.training.initial_model import first_model
from jobs.training.metrics_log import Record, record_of
from jobs.training.state import load_state
from jobs.training.training_json import deciding_fields, read_record
from jobs.training.validation import Validation


def train(
    config: TrainConfig,
    data: TrainingData,
    device: torch.device,
    *,
    threads: int | None = None,
    on_record: Callable[[Record], None] | None = None,
) -> None:
    """Train until the last step; the worker of rank 0 writes what there is to write.

    Args:
        config: of a training whose record is written.
        data: that it names.
        device: of this worker.
        threads: for its kernels; None leaves torch's choice.
        on_record: told of each step, on rank 0.
    """
    peers = Peers.of_process_group()
    if threads is not None:
        torch.set_num_threads(threads)
    _check_same(config.out, deciding_fields(config, data))
    torch.manual_seed(config.seed)
    model = first_model(config, data.categories, data.weights)
    trainer = Trainer(model, _optimization_config(config), device, peers)
    load_state(absolute(config.out), trainer)
    source = ExampleSource(data.annotations, config)
    validation = data.val_annotations and Validation(
        data.val_annotations,
        config.val_images or config.images,
        precision=config.precision,
        batch_size=config.batch_size // peers.count,
        device=device,
        peers=peers,
    )
    with Recorder.opened(config, trainer, on_record) as recorder:
        batches = source.batches(model.config.input, peers, first_step=trainer.num_done)
        with contextlib.closing(batches):
            for batch in batches:
                report = _step(trainer, batch)
                evaluation = None
                if validation and config.is_evaluated_at(report.step):
                    evaluation = validation.evaluate(trainer.average)
                if recorder is not None:
                    recorder.add(record_of(report, evaluation))


def _step(trainer: Trainer, batch: TrainingBatch) -> StepReport:
    """Do a step.

    Raises:
        ConfigError: the device has not enough memory for it.
    """
    try:
        return trainer.step(batch)
    except torch.OutOfMemoryError as error:
        rows, columns = batch.padded_shape
        raise ConfigError(
            f"step {trainer.num_done}: {len(batch.examples)} images of {columns} x {rows} pixels "
            f"do not fit into the memory of {trainer.device}; a smaller batch_size may"
        ) from error


def _optimization_config(config: TrainConfig) -> OptimizationConfig:
    """The part of the settings that says how weights move."""
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
    """Make sure that this machine sees what the command saw.

    Raises:
        ConfigError: a file has another content here.
    """
    differences = explain_difference(read_record(out), fields)
    if differences:
        raise ConfigError(f"--out {out}: what this worker finds is not the same: {differences}")
