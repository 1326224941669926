"""``metrics.jsonl``: one line per step, each step once, however often the training was resumed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, cast

from fcos_core.errors import ConfigError
from fcos_core.training import StepReport

Record = dict[str, Any]
"""A line: the step's report, and COCO's twelve numbers if the step was evaluated."""


def to_record(report: StepReport, evaluation: Mapping[str, float] | None) -> Record:
    """Make the line of a step; a number that is not finite becomes null, since JSON has none."""
    values = {**asdict(report), "total": report.total, **(evaluation or {})}
    return {k: v if math.isfinite(v) else None for k, v in values.items()}


def to_report(record: Record) -> StepReport:
    """Undo :func:`to_record`."""
    given = {name: record[name] for name in StepReport.__dataclass_fields__}
    filled: dict[str, Any] = {k: math.nan if v is None else v for k, v in given.items()}
    return StepReport(**filled)


class MetricsLog:
    """The file, open for appending; lines after step ``num_done`` are cut off and written again."""

    def __init__(self, path: Path, *, num_done: int) -> None:
        end = _end_of(path, num_done) if path.is_file() else 0
        self._file = path.open("ab")
        self._file.truncate(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, record: Record) -> None:
        """Append the record of a step; readers see it at once."""
        self._file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Write the appended lines to the disk, so that they survive a power cut."""
        os.fsync(self._file.fileno())


class MetricsTail:
    """Reads the lines that another process appends to the file, which may not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.is_file() else 0

    def new_records(self) -> list[Record]:
        """The complete lines appended since the last call."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            # When a worker is restarted, it cuts the file back to the saved step.
            self._offset = min(self._offset, os.fstat(file.fileno()).st_size)
            file.seek(self._offset)
            lines = file.read()
        whole = lines[: lines.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


def last_records(path: Path) -> tuple[Record, Record | None]:
    """The record of the last step, and the last record with an evaluation."""
    last: Record = {}
    evaluated: Record | None = None
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            last = _record(path, number, line)
            if "AP" in last:
                evaluated = last
    return last, evaluated


def _end_of(path: Path, num_done: int) -> int:
    """Offset in bytes behind the line of a step; an incomplete last line does not count."""
    end = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") or _record(path, number, line)["step"] > num_done:
                break
            end += len(line)
    return end


def _record(path: Path, number: int, line: bytes) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{str(path)!r} is damaged: line {number}: {error}") from error
    if not isinstance(record, dict) or "step" not in record:
        raise ConfigError(f"{str(path)!r} is damaged: line {number} is no record of a step")
    return cast("Record", record)
