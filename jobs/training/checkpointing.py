"""The files a training writes, in an order that leaves them consistent after a crash."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path

import torch

from fcos_core.checkpoint import serialize_checkpoint
from fcos_core.training import Trainer
from jobs.settings.train import TrainConfig
from jobs.storage import TEMPORARY_PREFIX, absolute, join, storage_for
from jobs.training.metrics_log import MetricsLog, Record
from jobs.training.state import save_state
from jobs.training.tensorboard import TensorBoardWriter
from jobs.training.training_json import (
    CHECKPOINT_NAME,
    METRICS_NAME,
    TENSORBOARD_NAME,
    code_version,
    folder_lock,
)

_LOCK_WAIT_S = 30.0  # a killed worker holds its lock until the system has ended the process


class CheckpointWriter:
    """Writes metrics and checkpoints, so that a crash at any moment loses no saved step.

    ``on_record`` is called with the record of each step.
    """

    def __init__(
        self,
        config: TrainConfig,
        trainer: Trainer,
        log: MetricsLog,
        tensorboard: TensorBoardWriter | None,
        on_record: Callable[[Record], None] | None,
    ) -> None:
        self._config = config
        self._out = absolute(config.out)
        self._trainer = trainer
        self._log = log
        self._tensorboard = tensorboard
        self._on_record = on_record

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls,
        config: TrainConfig,
        trainer: Trainer,
        on_record: Callable[[Record], None] | None,
    ) -> Generator[CheckpointWriter | None]:
        """Open the files on rank 0, the only worker that writes.

        Yields:
            The writer on rank 0, None on the other workers.
        """
        if not trainer.group.is_first:
            yield None
            return
        out, done = Path(absolute(config.out)), trainer.num_done
        with contextlib.ExitStack() as stack:
            stack.enter_context(folder_lock(out, wait_s=_LOCK_WAIT_S))
            for left in out.glob(f"{TEMPORARY_PREFIX}*"):
                left.unlink(missing_ok=True)
            log = stack.enter_context(MetricsLog(out / METRICS_NAME, num_done=done))
            tensorboard = None
            if config.tensorboard:
                tensorboard = TensorBoardWriter(out / TENSORBOARD_NAME, num_done=done)
                stack.callback(tensorboard.close)
            yield cls(config, trainer, log, tensorboard, on_record)

    def add(self, record: Record) -> None:
        """Write the record of a step, and a checkpoint where the settings ask for one."""
        self._log.append(record)
        if self._tensorboard is not None:
            self._tensorboard.add(record)
        if self._config.is_kept_at(int(record["step"])):
            self._write_checkpoint()
        if self._on_record is not None:
            self._on_record(record)

    def _write_checkpoint(self) -> None:
        """Write the state last: a step that it counts as done has its other files already."""
        self._log.sync()
        checkpoint = serialize_checkpoint(
            self._trainer.average,
            dtype=torch.float16 if self._config.store == "float16" else torch.float32,
            extra={
                "training": self._config.model_dump_json(),
                "step": str(self._trainer.num_done),
                "version": code_version(),
            },
        )
        uri = join(self._out, CHECKPOINT_NAME)
        storage_for(uri).write(uri, checkpoint)
        save_state(self._out, self._trainer)
