"""What the CUDA engine does on this GPU, in nine minutes at most and one command.

    python benchmarks/gpu_check.py --out FOLDER

It needs torch, torchvision, numpy and OpenCV, no network and no Ray. Each step runs in a process of
its own with a time limit; every result is appended to ``FOLDER/results.jsonl`` at once, and
``FOLDER/summary.md`` is written after each step: an early end costs only the steps that are left.
With ``--device cpu --quick`` all that needs no GPU is rehearsed in small.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.gpu import bare
from benchmarks.gpu.page import write_page

TOTAL_S = 530
_LEAST_S = 5  # no step starts with less


@dataclass(frozen=True)
class Step:
    """A function of ``benchmarks.gpu``, the title of its results, and its time limit."""

    function: str
    title: str
    limit_s: int


# In order of worth, should the time end: what compilation gives comes last.
STEPS = {
    "hardware": Step("hardware.run", "1. The machine", 60),
    "prepare": Step("photos.write_weights", "Weights", 90),
    "loop": Step("engines.loop", "2. torchvision's loop", 60),
    "eager": Step("engines.eager", "3. Eager", 60),
    "folded": Step("engines.folded", "4. Folded, channels last", 60),
    "fused": Step("kernels.fused", "5. Fused steps", 60),
    "graphs": Step("engines.graphs", "6. The CUDA engine", 90),
    "sameness": Step("sameness.run", "8. Input, decoding, waiting", 60),
    "end_to_end": Step("end_to_end.run", "9. From JPEG to detections", 120),
    "accuracy": Step("accuracy.run", "10. AP on the demo's images", 90),
    "memory": Step("kernels.memory", "11. Memory", 60),
    "kernels": Step("kernels.kernels", "12. The longest kernels", 60),
    "compile": Step("compiled.default", "7. torch.compile", 120),
    "compile_again": Step("compiled.default_again", "7. torch.compile, second process", 60),
    "autotune": Step("compiled.autotuned", "7. torch.compile, max-autotune", 240),
    "autotune_again": Step("compiled.autotuned_again", "7. max-autotune, second process", 60),
}


def main() -> int:
    options = _options()
    bare.prepare()
    if options.step:
        return _run_step(options)
    out: Path = options.out
    (out / "work").mkdir(parents=True, exist_ok=True)
    if options.steps is None:  # some steps are added to what is there
        (out / "results.jsonl").write_text("", encoding="utf-8")
    command = "python " + " ".join(shlex.quote(word) for word in sys.argv)
    date = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    deadline = time.monotonic() + options.total_s
    titles = {name: step.title for name, step in STEPS.items()}
    page = out / "summary.md"
    for name in options.steps or STEPS:
        ended = _spawn(name, options, deadline)
        with (out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": name, "name": "step", **ended}) + "\n")
        page = write_page(out, command, date, titles)
        print(f"{name}: {ended}", file=sys.stderr, flush=True)
    print(page)
    return 0


def _spawn(name: str, options: argparse.Namespace, deadline: float) -> dict[str, object]:
    """Run a step in its own process; say how it ended."""
    limit_s = min(STEPS[name].limit_s, deadline - time.monotonic())
    if limit_s < _LEAST_S:
        return {"ended": "skipped: no time is left"}
    words = [sys.executable, str(Path(__file__).resolve()), "--out", str(options.out)]
    words += ["--device", options.device, "--step", name, *(["--quick"] * options.quick)]
    started = time.monotonic()
    # In a group of its own: a step that decodes in processes must not leave them behind.
    process = subprocess.Popen(  # noqa: S603
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, errors = process.communicate(timeout=limit_s)
        ended = "done" if process.returncode == 0 else f"failed: {_last_line(errors)}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        ended = f"stopped after {limit_s:.0f} s"
    return {"ended": ended, "seconds": round(time.monotonic() - started, 1)}


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"


def _run_step(options: argparse.Namespace) -> int:
    import torch

    from benchmarks.gpu.context import QUICK, Context, Sizes, SkippedError
    from fcos_core.predictor import resolve_device

    context = Context(
        options.step,
        options.out,
        resolve_device(options.device),
        QUICK if options.quick else Sizes(),
    )
    if context.is_cuda:
        torch.cuda.set_device(context.device)
    module, function = STEPS[options.step].function.split(".")
    try:
        getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)(context)
    except SkippedError as reason:
        context.record(options.step, skipped=str(reason))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="small sizes, to rehearse on a CPU")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), help="only these")
    parser.add_argument("--total-s", type=float, default=TOTAL_S, help="of all steps")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
