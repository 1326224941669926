"""What a training leaves in its folder, written by one worker, whole at any moment."""

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
from jobs.training.tensorboard import Curves
from jobs.training.training_json import (
    CHECKPOINT_NAME,
    METRICS_NAME,
    TENSORBOARD_NAME,
    code_version,
    folder_lock,
)

_LOCK_WAIT_S = 30.0  # a worker that was killed keeps its lock until the system has cleared it away


class Recorder:
    """Writes metrics and checkpoints, in an order that any moment may be the last."""

    def __init__(
        self,
        config: TrainConfig,
        trainer: Trainer,
        log: MetricsLog,
        curves: Curves | None,
        on_record: Callable[[Record], None] | None,
    ) -> None:
        self._config = config
        self._out = absolute(config.out)
        self._trainer = trainer
        self._log = log
        self._curves = curves
        self._on_record = on_record

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls,
        config: TrainConfig,
        trainer: Trainer,
        on_record: Callable[[Record], None] | None,
    ) -> Generator[Recorder | None]:
        """Become the one who writes; only rank 0 does.

        Yields:
            The recorder, or None for the other workers.
        """
        if not trainer.peers.is_first:
            yield None
            return
        out, done = Path(absolute(config.out)), trainer.num_done
        with contextlib.ExitStack() as stack:
            stack.enter_context(folder_lock(out, wait_s=_LOCK_WAIT_S))
            for left in out.glob(f"{TEMPORARY_PREFIX}*"):
                left.unlink(missing_ok=True)
            log = stack.enter_context(MetricsLog(out / METRICS_NAME, num_done=done))
            curves = Curves(out / TENSORBOARD_NAME, num_done=done) if config.tensorboard else None
            if curves is not None:
                stack.callback(curves.close)
            yield cls(config, trainer, log, curves, on_record)

    def add(self, record: Record) -> None:
        """Write a step, and with it the state where the settings say so."""
        self._log.append(record)
        if self._curves is not None:
            self._curves.add(record)
        if self._config.is_kept_at(int(record["step"])):
            self._keep()
        if self._on_record is not None:
            self._on_record(record)

    def _keep(self) -> None:
        """Write the state last: once it says that a step is done, all else is there."""
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
