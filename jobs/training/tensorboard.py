"""The numbers of ``metrics.jsonl`` as files for TensorBoard."""

# tensorboardX leaves the type of add_scalar() partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from pathlib import Path

from tensorboardX import SummaryWriter

from jobs.training.metrics_log import Record

_LOSSES = ("total", "classification", "box", "centerness")


class TensorBoardWriter:
    """Writes event files; TensorBoard hides steps after ``num_done``, which are written again."""

    def __init__(self, folder: Path, *, num_done: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=num_done + 1)

    def add(self, record: Record) -> None:
        for name, value in record.items():
            if name != "step" and value is not None:
                group = "loss" if name in _LOSSES else "optimizer"
                tag = f"{group}/{name}" if name.islower() else f"coco/{name}"
                self._writer.add_scalar(tag, value, record["step"])

    def close(self) -> None:
        self._writer.close()
