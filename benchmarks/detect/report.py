"""What ``bench_detect.py`` measured, as a page of Markdown that needs no further explanation."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from detect.contestants import CONTESTANTS, HERE, LOOP, OURS, RAY_DATA, Contestant, Setup, Turn
from same_detections import MAX_BOX_PX, MAX_SCORE, Difference, compare

from jobs.parallel.cores import num_cores

PACKAGES = ("torch", "torchvision", "ray", "opencv-python-headless", "pyarrow")
_GIB = 2**30
_BUSY_CORES = 0.2  # kept by other programs
_WIDE_SPREAD = 1.1  # slowest over fastest round

Round = dict[str, Turn]
"""By the contestants' names."""

EXPLANATION = """\
*Whole process*: from starting the program to its end, seen from outside: interpreter, imports,
Ray's start and end, loading the model, and for `fcos detect` also listing, hashing the weights,
writing the run and proving it complete.
*At work*: from the first photo to the last detection. `fcos detect`: the worker's time per shard,
reading and decoding of its first photos included, writing (which overlaps) not; summed over shards,
divided by workers. Loop: its `for` loop. Ray Data: from the first batch's start to the last one's
end, without the reading that went before.
*Own clock*: what the program prints. `fcos detect`: everything but interpreter and imports. Loop:
its `for` loop. Ray Data: from reading to writing, its actors' start and model included, but not
`ray.init`.
*CPU*: core seconds of all processes of a contestant, waiting threads that spin included.
*Memory*: the most that all processes of a contestant held together, looked at once a
second (PSS)."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a set of rounds was measured under.

    Attributes:
        setup: what all contestants were given.
        plan: what ``fcos detect --dry-run`` said.
        weights: where they are from.
        began: when.
    """

    setup: Setup
    plan: Mapping[str, Any]
    weights: str
    began: datetime

    @classmethod
    def begin(cls, setup: Setup, plan: Mapping[str, Any], weights: Path | None) -> Session:
        """Note the time before the first round."""
        return cls(
            setup=setup,
            plan=plan,
            weights="random, seed 0 (`random_weights.py`)" if weights is None else weights.name,
            began=datetime.now(UTC),
        )

    @property
    def hardware(self) -> str:
        """Name what computed."""
        model = self.plan["device_model"]
        return model if self.setup.device == "cuda" else f"{num_cores()} cores of {model}"


def result_name(session: Session) -> str:
    """Name the file: date, hardware, subject."""
    hardware = re.sub(r"[^a-z0-9]+", "-", session.hardware.lower()).strip("-")
    return f"{session.began:%Y-%m-%d}_{hardware}_detect.md"


def difference(taken: Round, contestant: Contestant) -> Difference:
    """Compare what a contestant found with what the loop found."""
    return compare(taken[LOOP.name].account.found, taken[contestant.name].account.found)


def make_report(session: Session, rounds: Sequence[Round]) -> str:
    """Write the page.

    Args:
        session: what the rounds were measured under.
        rounds: at least one.
    """
    parts = [
        "# `fcos detect` beside a torchvision loop and a Ray Data pipeline",
        _circumstances(session, len(rounds)),
        f"## Medians of all rounds ({len(rounds)})",
        _medians(session, rounds),
        EXPLANATION,
        "## Same detections?",
        _sameness(rounds),
        "## Reading",
        _reading(session, rounds),
        "## Every run",
        _every_run(rounds),
        "## Commands",
        f"```\n{_commands(session)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _circumstances(session: Session, num_rounds: int) -> str:
    setup, plan = session.setup, session.plan
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    chosen = "chosen by `fcos detect` itself" if setup.is_auto else "given"
    rows = {
        "date": f"{session.began:%Y-%m-%d %H:%M} UTC",
        "command": f"`{shlex.join(['python', 'benchmarks/bench_detect.py', *sys.argv[1:]])}`",
        "hardware": f"{session.hardware}, {num_cores()} cores, {memory_gib:.0f} GiB of memory",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": f"fcos-batch {_commit()}, {versions}",
        "photos": f"{setup.num_photos}, resized by all to 800 pixels (shorter side, at most 1333)",
        "weights": f"{session.weights}; score threshold {setup.score_threshold}; fp32",
        "threads": f"{setup.workers} x {setup.threads} ({chosen}); the loop {_threads(setup)}",
        "batches": f"`fcos detect` {plan['batch_size']}, loop 1, Ray Data {setup.ray_data_batch}",
        "order": f"{', '.join(c.name for c in CONTESTANTS)}; {num_rounds} times in turn",
    }
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {text} |" for name, text in rows.items())


def _threads(setup: Setup) -> int:
    return setup.workers * setup.threads


def _medians(session: Session, rounds: Sequence[Round]) -> str:
    lines = [
        "| | whole process s | images/s | ratio | at work s | images/s | ratio | CPU s | MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    num_photos = session.setup.num_photos
    for contestant in CONTESTANTS:
        cells = [contestant.name]
        for seconds in (_wall_s, _steady_s):
            mine, ours = _median(rounds, contestant, seconds), _median(rounds, OURS, seconds)
            ratio = "" if contestant is OURS else f"{mine / ours:.2f}"
            cells += [f"{mine:.1f}", f"{num_photos / mine:.3f}", ratio]
        measured = [taken[contestant.name].measured for taken in rounds]
        cells += [_largest(m.cpu_s for m in measured), _largest(m.peak_mib for m in measured)]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("\nRatio: how many times as fast `fcos detect` is; above 1 it is faster.")
    lines.append("CPU and memory are the largest of all rounds.")
    return "\n".join(lines)


def _wall_s(turn: Turn) -> float:
    return turn.measured.wall_s


def _steady_s(turn: Turn) -> float:
    return turn.account.steady_s


def _median(
    rounds: Sequence[Round], contestant: Contestant, seconds: Callable[[Turn], float]
) -> float:
    return median(seconds(taken[contestant.name]) for taken in rounds)


def _largest(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{max(known):.0f}" if known else "unknown"


def _sameness(rounds: Sequence[Round]) -> str:
    lines = [
        "| against the loop | detections | of the loop | without counterpart | box px | score |",
        "|---|---|---|---|---|---|",
    ]
    for contestant in (OURS, RAY_DATA):
        worst = max((difference(taken, contestant) for taken in rounds), key=_badness)
        cells = [worst.num_other, worst.num_reference, worst.num_alone]
        numbers = f"{worst.max_box_px:.2g} | {worst.max_score:.2g}"
        lines.append(f"| {contestant.name} | {' | '.join(map(str, cells))} | {numbers} |")
    return "\n".join(lines)


def _badness(difference: Difference) -> tuple[int, float, float]:
    return difference.num_alone, difference.max_box_px, difference.max_score


def _reading(session: Session, rounds: Sequence[Round]) -> str:
    """Say in words what the numbers allow to say, and what they do not."""
    is_same = all(difference(taken, OURS).is_none for taken in rounds)
    lines = [
        f"`fcos detect` and the loop found {'the same' if is_same else '**DIFFERENT**'} detections "
        f"(allowed: {MAX_BOX_PX} px, {MAX_SCORE:g} of score, none without counterpart)."
    ]
    num_photos = session.setup.num_photos
    idle_ours = _median(rounds, OURS, _wall_s) - _median(rounds, OURS, _steady_s)
    rate_ours = _median(rounds, OURS, _steady_s) / num_photos
    for peer in (LOOP, RAY_DATA):
        idle = _median(rounds, peer, _wall_s) - _median(rounds, peer, _steady_s)
        rate = _median(rounds, peer, _steady_s) / num_photos
        text = (
            f"{peer.name}: {rate / rate_ours:.2f} times its speed at work; outside of work ours "
            f"spends {idle_ours:.1f} s, the peer {idle:.1f} s."
        )
        if rate > rate_ours and idle_ours > idle:
            even = (idle_ours - idle) / (rate - rate_ours)
            text += f" At these rates the whole of ours is faster from {even:.0f} photos on."
        elif rate <= rate_ours and idle_ours >= idle:
            text += " At these rates the whole of ours is slower for any number of photos."
        lines.append(text)
    lines.append(
        "Ray Data's detections are others where photos of different shapes share a batch: "
        "torchvision pads them to one shape, and padding takes part in the group norms of the head."
    )
    spread = max(
        max(seconds) / min(seconds)
        for contestant in CONTESTANTS
        for seconds in [[_steady_s(taken[contestant.name]) for taken in rounds]]
    )
    if len(rounds) > 1:
        lines.append(f"Between rounds the time at work varied by {100 * (spread - 1):.0f} %.")
    others = [turn.measured.others_cores or 0.0 for taken in rounds for turn in taken.values()]
    if max(others) > _BUSY_CORES:
        lines.append(
            f"**The machine was shared: other programs kept {min(others):.1f} to {max(others):.1f} "
            f"of {num_cores()} cores busy. The ratios are no measure of the programs.**"
        )
    elif spread > _WIDE_SPREAD:
        lines.append("**The machine was unsteady: ratios near 1 say nothing.**")
    return "\n".join(f"- {line}" for line in lines)


def _every_run(rounds: Sequence[Round]) -> str:
    lines = [
        "| round | | whole process s | at work s | own clock s | CPU s | cores of others |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, taken in enumerate(rounds, 1):
        for name, turn in taken.items():
            seconds = (_wall_s(turn), _steady_s(turn), turn.account.own_s)
            shown = " | ".join(f"{value:.2f}" for value in seconds)
            others = _shown_cores(turn.measured.others_cores)
            cpu_s = _largest([turn.measured.cpu_s])
            lines.append(f"| {number} | {name} | {shown} | {cpu_s} | {others} |")
    return "\n".join(lines)


def _shown_cores(cores: float | None) -> str:
    return "unknown" if cores is None else f"{cores:.2f}"


def _commands(session: Session) -> str:
    """Give the contestants' commands without this machine's paths."""
    setup = session.setup
    names = {
        str(setup.photos): "PHOTOS",
        str(setup.weights): "WEIGHTS",
        sys.executable: "python",
        str(HERE.parent) + os.sep: "",
        str(Path(sys.executable).parent) + os.sep: "",
    }
    lines: list[str] = []
    for contestant in CONTESTANTS:
        line = shlex.join(contestant.command(setup, Path("OUT")))
        for path, name in names.items():
            line = line.replace(path, name)
        lines.append(line)
    return "\n".join(lines)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    answer = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)  # noqa: S603
    return answer.stdout.strip() or "no commit"
