"""The numbers of ``metrics.jsonl`` as files for TensorBoard."""

# tensorboardX leaves the type of add_scalar() partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from pathlib import Path

from tensorboardX import SummaryWriter

from jobs.training.metrics_log import Record

_LOSSES = ("total", "classification", "box", "centerness")


class TensorBoardWriter:
    """Writes event files into a folder that TensorBoard reads.

    Args:
        folder: created if missing.
        num_done: the last step to keep; TensorBoard hides later ones, which are written again.
    """

    def __init__(self, folder: Path, *, num_done: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=num_done + 1)

    def add(self, record: Record) -> None:
        """Write the numbers of a step."""
        for name, value in record.items():
            if name != "step" and value is not None:
                group = "loss" if name in _LOSSES else "optimizer"
                tag = f"{group}/{name}" if name.islower() else f"coco/{name}"
                self._writer.add_scalar(tag, value, record["step"])

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()
