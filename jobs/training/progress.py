"""The progress of a training: the losses of the last step, and every evaluation."""

from __future__ import annotations

from jobs.progress import ProgressReport
from jobs.training.metrics_log import Record


def show_step(progress: ProgressReport, record: Record) -> None:
    """Show a step as the last one done, and its evaluation where it has one."""
    step = int(record["step"])
    progress.add(
        rows=step - progress.pace.done,
        note=f"loss {record['total']:.3f}",
        details=f"class {record['classification']:.3f}, box {record['box']:.3f}, "
        f"centre {record['centerness']:.3f}",
    )
    if "AP" in record:
        metrics = [f"{name} {value:.4f}" for name, value in record.items() if name[:2] in _METRICS]
        progress.write(f"train: evaluation at step {step}: {', '.join(metrics)}")


_METRICS = {"AP", "AR"}
