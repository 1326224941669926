"""The GPU check, rehearsed on a CPU: every step gives a result or says why it gives none."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.page import roofline, write_page
from benchmarks.gpu_check import STEPS, TOTAL_S

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_check.py"

ON_CUDA_ONLY = {"compile", "compile_again", "autotune", "autotune_again"}


def _check(out: Path, *options: str) -> list[dict[str, Any]]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [sys.executable, str(SCRIPT), "--out", str(out), "--device", "cpu", "--quick"]
    subprocess.run([*words, *options], env=environment, check=True, timeout=900)
    text = (out / "results.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _require_results(lines: list[dict[str, Any]], steps: list[str]) -> None:
    assert not [line for line in lines if "failed" in line]
    for step in steps:
        own = [line for line in lines if line["step"] == step]
        assert own[-1]["name"] == "step"
        assert own[-1]["ended"] == "done", own[-1]
        if step == "prepare":
            continue
        assert len(own) > 1, step
        if step in ON_CUDA_ONLY:
            assert all("skipped" in line for line in own[:-1])
        else:
            assert any("skipped" not in line for line in own[:-1])


@pytest.mark.long
@pytest.mark.command
@pytest.mark.slow
def test_some_steps_are_rehearsed(tmp_path: Path) -> None:
    steps = ["hardware", "prepare", "sameness", "memory", "compile"]
    lines = _check(tmp_path, "--steps", *steps)

    _require_results(lines, steps)
    by_name = {line["name"]: line for line in lines if line["step"] == "sameness"}
    assert by_name["input"]["is_equal"]
    decoding = by_name["decoding"]
    assert decoding["same_place_and_label"] == decoding["detections"] > 0
    page = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert page.startswith("# GPU check: cpu\n")
    assert "GFLOP" in page


@pytest.mark.slow
def test_all_steps_are_rehearsed(tmp_path: Path) -> None:
    lines = _check(tmp_path, "--total-s", "900")

    _require_results(lines, list(STEPS))
    ap = {(line["engine"], line["precision"]): line["AP"] for line in lines if line["name"] == "AP"}
    assert set(ap) == {(e, p) for e in ("eager", "folded") for p in ("fp32", "bf16")}
    assert ap["eager", "fp32"] == pytest.approx(ap["folded", "fp32"], abs=1e-3)


@pytest.mark.command
def test_steps_without_time_are_skipped_and_the_page_is_written(tmp_path: Path) -> None:
    lines = _check(tmp_path, "--total-s", "1", "--steps", "hardware", "loop")

    assert [line["ended"] for line in lines] == ["skipped: no time is left"] * 2
    assert "no time is left" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_total_is_less_than_nine_minutes() -> None:
    assert TOTAL_S < 9 * 60


@pytest.mark.long
def test_steps_import_nothing_that_a_bare_machine_lacks() -> None:
    program = """
import importlib, sys
absent = {"ray", "pyarrow", "av", "pydantic", "pandas", "typer", "jaxtyping", "simplejpeg",
          "safetensors", "yaml", "openvino", "boto3"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
from benchmarks.gpu import bare
bare.find_spec = lambda name: None
bare.prepare()
for name in ("hardware", "photos", "engines", "kernels", "sameness", "end_to_end", "accuracy",
             "compiled"):
    importlib.import_module(f"benchmarks.gpu.{name}")
from benchmarks.gpu.accuracy import demo_model
print(sum(value.numel() for value in demo_model().parameters()) > 1_000_000)
import jobs.synthetic.dataset
assert bare.missing("numpy") == "not installed: numpy"
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr[-2000:]


LINES: list[dict[str, object]] = [
    {"step": "hardware", "name": "operations per image", "shape": [800, 1088], "gflop": 349.0},
    {"step": "hardware", "name": "matrix product", "tflops": 698.0},
    {"step": "loop", "name": "torchvision loop", "images": 30, "images_per_s": 50.0},
    {"step": "graphs", "name": "cuda", "batch": 8, "images_per_s": 900.0},
    {"step": "graphs", "name": "cuda", "batch": 32, "images_per_s": 1000.0},
]


def test_roofline_is_arithmetic() -> None:
    text = roofline(LINES)

    # 698 TFLOP/s over 349 GFLOP are 2000 images a second, half a millisecond each.
    assert "that is 0.5 ms, so 2000 images/s is the limit" in text
    assert "- cuda: 1000 images/s at best, 50.0% of the limit, 20 times the loop" in text


def test_page_has_a_table_for_lines_with_the_same_columns(tmp_path: Path) -> None:
    written = "".join(json.dumps(line) + "\n" for line in LINES)
    (tmp_path / "results.jsonl").write_text(written, encoding="utf-8")

    page = write_page(tmp_path, "a | b", "today", {"graphs": "6. Graphs", "none": "7. None"})

    text = page.read_text(encoding="utf-8")
    assert "| name | batch | images_per_s |\n|---|---|---|\n| cuda | 8 | 900 |" in text
    assert "## 7. None\n\nNo results." in text
