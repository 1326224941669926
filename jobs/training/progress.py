"""How far a training is, on stderr: a live bar on a terminal, plain timed lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.progress import LINE_EVERY_S
from jobs.training.metrics_log import Record

_BAR_WIDTH = 20
_MINUTE_S = 60


class TrainingProgress:
    """Shows steps as they are done.

    Args:
        num_steps: of the whole training.
        num_done: steps that were done before.
        batch_size: images per step.
        stream: where to; stderr by default.
        clock: seconds, from any beginning.
    """

    def __init__(
        self,
        num_steps: int,
        num_done: int,
        batch_size: int,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._num_steps = num_steps
        self._num_done = num_done
        self._batch_size = batch_size
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._began = self._next_line_at = clock()
        self._bar: Progress | None = None
        if self._stream.isatty():
            self._bar = Progress(
                MofNCompleteColumn(),
                BarColumn(_BAR_WIDTH),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
                redirect_stdout=False,  # it is for results
            )
            self._task = self._bar.add_task("starting", total=num_steps, completed=num_done)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, record: Record) -> None:
        """Tell of a step, when it is time to; of an evaluation always."""
        step, now = int(record["step"]), self._clock()
        rate = (step - self._num_done) / max(now - self._began, 1e-9)
        speed = f"{rate * self._batch_size:.1f} images/s"
        if self._bar is not None:
            text = f"loss {record['total']:.3f}  {speed}"
            self._bar.update(self._task, completed=step, description=text)
        elif now >= self._next_line_at or step == self._num_steps:
            self._next_line_at = now + LINE_EVERY_S
            left_min = (self._num_steps - step) / rate / _MINUTE_S if rate > 0 else 0.0
            self._say(
                f"step {step}/{self._num_steps}  {_losses(record)}  {speed}  "
                f"{left_min:.1f} min left"
            )
        if "AP" in record:
            numbers = "  ".join(
                f"{name} {value:.4f}" for name, value in record.items() if name[:2] in {"AP", "AR"}
            )
            self._say(f"evaluation at step {step}:  {numbers}")

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.console.print(line, highlight=False)
        else:
            self._stream.write(f"{line}\n")
            self._stream.flush()


def _losses(record: Record) -> str:
    return (
        f"loss {record['total']:.3f} (class {record['classification']:.3f}, "
        f"box {record['box']:.3f}, centre {record['centerness']:.3f})"
    )
