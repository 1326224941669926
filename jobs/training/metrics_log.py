"""``metrics.jsonl``: one line per step, each step once, however often the training was resumed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fcos_core.training import StepReport

Record = dict[str, Any]
"""A line: the step's report, and the twelve numbers where the step was evaluated."""


def record_of(report: StepReport, evaluation: Mapping[str, float] | None) -> Record:
    """Make the line of a step; what is not finite becomes null, as JSON has it."""
    values = {**asdict(report), "total": report.total, **(evaluation or {})}
    return {k: v if math.isfinite(v) else None for k, v in values.items()}


def report_of(record: Record) -> StepReport:
    """Undo :func:`record_of`."""
    given = {name: record[name] for name in StepReport.__dataclass_fields__}
    filled: dict[str, Any] = {k: math.nan if v is None else v for k, v in given.items()}
    return StepReport(**filled)


class MetricsLog:
    """The file, open for more.

    Args:
        path: of the file.
        num_done: steps that stay; later lines, which will be written again, are cut off.
    """

    def __init__(self, path: Path, *, num_done: int) -> None:
        self._file = path.open("ab")
        self._file.truncate(_end_of(path, num_done))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, record: Record) -> None:
        """Add a step; readers see it at once."""
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Let what was added survive a power cut."""
        os.fsync(self._file.fileno())


class MetricsTail:
    """Reads what somebody else adds to the file.

    Args:
        path: of the file, which need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.is_file() else 0

    def new_records(self) -> list[Record]:
        """The whole lines added since the last call."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            # After a worker was lost, the file is cut back to what was saved.
            self._offset = min(self._offset, os.fstat(file.fileno()).st_size)
            file.seek(self._offset)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def last_records(path: Path) -> tuple[Record, Record | None]:
    """The last step's line, and the last line with an evaluation."""
    last: Record = {}
    evaluated: Record | None = None
    with path.open("rb") as file:
        for line in file:
            last = json.loads(line)
            if "AP" in last:
                evaluated = last
    return last, evaluated


def _end_of(path: Path, num_done: int) -> int:
    """Where the line of a step ends, in bytes; a step that was cut short does not count."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n") or json.loads(line)["step"] > num_done:
                break
            end += len(line)
    return end
