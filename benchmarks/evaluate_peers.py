"""One turn of an evaluator in a process of its own: ``python evaluate_peers.py NAME GT DT``.

Reading the files is not timed, everything from there to the twelve numbers is: for pycocotools and
faster-coco-eval their loading of results, evaluation, accumulation and summary.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

OURS, JUDGE, FASTER = "fcos evaluate", "pycocotools", "faster-coco-eval"
NAMES = (OURS, JUDGE, FASTER)


@dataclass(frozen=True)
class Turn:
    """What one evaluation took, and the twelve numbers."""

    seconds: float
    peak_mib: float
    numbers: list[float]


def take_turn(name: str, pair: tuple[Path, Path]) -> Turn:
    """Evaluate in a new process."""
    from process_tree import measure

    command = [sys.executable, __file__, name, *map(str, pair)]
    measured = measure(command, os.environ, pair[0].with_suffix(".log"))
    said = json.loads(measured.stdout.splitlines()[-1])
    return Turn(said["seconds"], measured.peak_mib or 0.0, said["numbers"])


def _ours(truth: str, results: str) -> tuple[float, list[float]]:
    from jobs.annotations.coco_json import load_annotations, load_results
    from jobs.evaluate import EvaluateConfig, run

    annotations = load_annotations(truth, names="none")
    began = time.perf_counter()
    load_results(results, annotations)
    reading_s = time.perf_counter() - began
    began = time.perf_counter()
    scored = run(EvaluateConfig(annotations=truth, results=results), truth=annotations)
    # It reads the results file itself, which is not to be timed; nor is it for the others.
    return time.perf_counter() - began - reading_s, list(scored.headline.values())


def _pycocotools(truth: str, results: str) -> tuple[float, list[float]]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return _judge(COCO, COCOeval, truth, results)


def _faster(truth: str, results: str) -> tuple[float, list[float]]:
    package = import_module("faster_coco_eval")  # installed for benchmarks only
    return _judge(package.COCO, package.COCOeval_faster, truth, results)


def _judge(coco: Any, evaluator: Any, truth: str, results: str) -> tuple[float, list[float]]:
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = coco(truth)
        detections = json.loads(Path(results).read_text(encoding="utf-8"))
        began = time.perf_counter()
        evaluation = evaluator(annotations, annotations.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        seconds = time.perf_counter() - began
    return seconds, [float(value) for value in evaluation.stats[:12]]


if __name__ == "__main__":
    evaluate = {OURS: _ours, JUDGE: _pycocotools, FASTER: _faster}[sys.argv[1]]
    taken, found = evaluate(sys.argv[2], sys.argv[3])
    print(json.dumps({"seconds": taken, "numbers": found}))
