"""A scored run, its page, and the optional parts of its metrics."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.report import ReportConfig
from jobs.report import run as report
from jobs.rundir.directory import RunDirectory
from tests.jobs.html.pages import Document, parse
from tests.jobs.reporting.runs import (
    found,
    quarantined,
    write_annotations,
    write_image,
    write_run,
)

OPTIONAL: dict[str, dict[str, Any]] = {
    "errors": {"errors": {"shares": {"class": 0.03, "missed": 0.01}, "counts": {"class": 12}}},
    "calibration": {
        "calibration": {
            "bins": [{"low": 0, "high": 0.5, "count": 3, "mean_score": 0.3, "precision": 0.25}],
            "ece": 0.05,
        }
    },
    "confusions": {"confusions": [{"true": 1, "predicted": "dog", "count": 4}]},
    "thresholds": {"thresholds": {"score": 0.25, "precision": 0.9, "recall": 0.8, "f1": 0.85}},
    "ladder": {
        "ladder": {
            "steps": [
                {"name": "ground_truth", "boxes": 4, "lost": 0, "lost_by_area": {"small": 0}},
                {"name": "assignable", "boxes": 3, "lost": 1, "lost_by_area": {"small": 1}},
            ],
            "assignable_by_found": {
                "assignable": {"found": 3, "not_found": 0},
                "not_assignable": {"found": 1, "not_found": 0},
            },
        }
    },
}


def make_scored_run(folder: Path) -> tuple[RunDirectory, str]:
    """Four images, of which one is perfect, one has a false positive and one misses an object."""
    uris = [str(folder / f"images/{name}.jpg") for name in "abcd"]
    for i, uri in enumerate(uris[:3]):
        write_image(Path(uri), seed=i)
    rows = [
        found(0, uris[0], [(1, 0.9, (10, 10, 40, 40)), (3, 0.8, (50, 10, 90, 60))]),
        found(1, uris[1], [(1, 0.9, (10, 10, 40, 40)), (3, 0.7, (60, 40, 70, 50))]),
        found(2, uris[2], [(3, 0.2, (0, 0, 5, 5))]),
        quarantined(3, uris[3]),
    ]
    run = write_run(folder / "RUN", rows)
    boxes = [(1, 1, (10, 10, 30, 30)), (1, 3, (50, 10, 40, 50)), (2, 1, (10, 10, 30, 30))]
    boxes += [(3, 3, (20, 20, 50, 30))]
    annotations = write_annotations(folder / "instances.json", rows, boxes)
    evaluate(EvaluateConfig(run=run.uri, annotations=annotations))
    _remove_optional_parts(run)
    return run, annotations


def _remove_optional_parts(run: RunDirectory) -> None:
    path = Path(run.evaluation_uri("metrics.json"))
    metrics = json.loads(path.read_text())
    for part in ("intervals", "bootstrap", *(key for one in OPTIONAL.values() for key in one)):
        metrics.pop(part, None)
    path.write_text(json.dumps(metrics))
    Path(run.evaluation_uri("curves.parquet")).unlink(missing_ok=True)


def page_of(run: RunDirectory, **settings: Any) -> Document:
    result = report(ReportConfig(run=run.uri, **settings))
    page = Path(result.report).read_text()
    assert result.num_bytes == len(page.encode())
    return parse(page)


def amend_metrics(run: RunDirectory, **parts: Any) -> None:
    path = Path(run.evaluation_uri("metrics.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


def write_curves(run: RunDirectory) -> None:
    recall = [i / 100 for i in range(101)]
    rows = [
        {"category_id": category_id, "iou": iou, "recall": recall, "precision": recall[::-1]}
        for category_id in (None, 1, 3)
        for iou in (0.5, 0.75, None)
    ]
    pq.write_table(pa.Table.from_pylist(rows), run.evaluation_uri("curves.parquet"))


def write_events(run: RunDirectory) -> None:
    shard = {"event": "shard", "num_ok": 3, "num_quarantined": 1, "seconds": 2.0, "device": "cpu"}
    events = [
        {"time": "2025-01-01T00:00:00+00:00", "event": "begin"},
        {"time": "2025-01-01T00:00:04+00:00", "created": True, **shard},
        {"time": "2025-01-01T00:00:05+00:00", "event": "end", "error": None},
    ]
    path = Path(run.event_uri("x.jsonl"))
    path.parent.mkdir()
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
