"""The results as a page: a head, one table per step, and the roofline's arithmetic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

Line = dict[str, object]

_GOALS = (
    "Goals on a card of the H100 class: 600 images/s and more from the network alone at 800x1088 "
    "in bf16 (900 is wanted), 80 % of that from JPEG with 16 cores, 20 times torchvision's loop, "
    "the GPU busy for 90 % of the time."
)


def write_page(out: Path, command: str, date: str, titles: dict[str, str]) -> Path:
    """Write ``summary.md`` beside the results."""
    lines = read_lines(out / "results.jsonl")
    machine = _first(lines, "machine") or {}
    parts = [
        f"# GPU check: {machine.get('device', 'unknown device')}",
        _head(machine, command, date),
        _GOALS,
        "## Roofline",
        roofline(lines),
    ]
    for step, title in titles.items():
        own = [line for line in lines if line["step"] == step]
        parts += [f"## {title}", *_tables(own)]
    path = out / "summary.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def read_lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def roofline(lines: Sequence[Line]) -> str:
    """What the arithmetic alone would allow, beside what the engines reach."""
    counted, product = _first(lines, "operations per image"), _first(lines, "matrix product")
    if counted is None or product is None or "gflop" not in counted or "tflops" not in product:
        return "Not computed: a measurement of step 1 is missing."
    gflop, tflops = float(str(counted["gflop"])), float(str(product["tflops"]))
    shape = counted["shape"]
    assert isinstance(shape, list)
    rows, columns = shape
    limit = 1e3 * tflops / gflop
    text = [
        f"One image of {rows}x{columns} takes {gflop:g} GFLOP. At the {tflops:g} TFLOP/s of a bf16 "
        f"matrix product that is {1e3 / limit:.3g} ms, so {limit:.4g} images/s is the limit of the "
        "arithmetic.",
    ]
    loop = _best(lines, "torchvision loop")
    for name in ("eager", "folded", "cuda", "without decoding", "end to end"):
        best = _best(lines, name)
        if best is None:
            continue
        ratio = f", {best / loop:.3g} times the loop" if loop else ""
        text.append(f"- {name}: {best:g} images/s at best, {best / limit:.1%} of the limit{ratio}")
    return "\n".join(text)


def _first(lines: Sequence[Line], name: str) -> Line | None:
    return next((line for line in lines if line["name"] == name), None)


def _best(lines: Sequence[Line], name: str) -> float | None:
    values = [
        float(str(x["images_per_s"])) for x in lines if x["name"] == name and "images_per_s" in x
    ]
    return max(values, default=None)


def _head(machine: Line, command: str, date: str) -> str:
    versions = machine.get("versions") or {}
    assert isinstance(versions, dict)
    rows = [
        ("date", date),
        ("command", f"`{command}`"),
        ("device", str(machine.get("device", "unknown"))),
        ("memory", f"{machine.get('memory_gib', '-')} GiB"),
        ("capability", str(machine.get("capability", "-"))),
        ("host", f"{machine.get('cores', '-')} cores, {machine.get('system', '-')}, Python "
         f"{machine.get('python', '-')}"),
        ("versions", ", ".join(f"{name} {value}" for name, value in versions.items() if value)),
        ("CUDA", f"{machine.get('cuda', '-')}, cuDNN {machine.get('cudnn', '-')}, driver "
         f"{machine.get('driver', '-')}"),
    ]  # fmt: skip
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _tables(lines: Sequence[Line]) -> list[str]:
    """One table for the lines of the same columns that follow one another."""
    tables: list[str] = []
    columns: tuple[str, ...] = ()
    for line in lines:
        values = {name: value for name, value in line.items() if name != "step"}
        if values.get("name") == "machine":
            continue
        if tuple(values) != columns:
            columns = tuple(values)
            tables.append("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns))
        tables[-1] += "\n| " + " | ".join(_cell(value) for value in values.values()) + " |"
    return tables or ["No results."]


def _cell(value: object) -> str:
    if isinstance(value, list):
        return (
            "x".join(map(str, value))
            if all(isinstance(v, int) for v in value)
            else "; ".join(value)
        )
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "/").replace("\n", " ")
