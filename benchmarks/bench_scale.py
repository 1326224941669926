"""A run of many items from the listing to the proof: seconds, memory and bytes of each stage.

``python benchmarks/bench_scale.py --items 100000 1000000 10000000``: a bucket of so many keys,
which a server makes up, is listed and planned; the shards are dispatched to two actors that only
answer, and whose files are committed to local disk; the run is proved. Each stage is a process,
measured with all its descendants. Writes ``results/<date>_<hardware>_scale.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench_planning import server
from machine import circumstances, page_name
from process_tree import measure
from scale.loop import Loop, drive

HERE = Path(__file__).resolve().parent
STAGES = ("plan", "dispatch", "prove")
FOLDERS = 100
_MILLION = 1e6
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of one run.

    Attributes:
        items: of the run.
        name: of the stage.
        wall_s: from the start of its process to its end.
        cpu_s: of the process and all its descendants.
        driver_mib: the most that its own process had resident.
        mib_written: what the run's folder grew by.
        of_it: further seconds that the stage says of itself.
    """

    items: int
    name: str
    wall_s: float
    cpu_s: float
    driver_mib: float
    mib_written: float
    of_it: dict[str, float]


def run_stages(items: int, work: Path) -> list[Stage]:
    """Run every stage over a bucket of so many keys."""
    found: list[Stage] = []
    run = work / "run"
    modules = os.pathsep.join([str(HERE), str(HERE.parent)])
    with server(items, min(FOLDERS, items)) as bucket:
        environment = {**bucket, "PYTHONPATH": modules}
        before = 0.0
        for name in STAGES:
            command = [sys.executable, str(HERE / "scale" / "stages.py"), name, str(run)]
            measured = measure(command, environment, work / f"{name}.log")
            said = json.loads(measured.stdout.splitlines()[-1])
            assert said.pop("items") == items
            size = sum(path.stat().st_size for path in run.rglob("*") if path.is_file()) / _MIB
            found.append(
                Stage(
                    items=items,
                    name=name,
                    wall_s=measured.wall_s,
                    cpu_s=measured.cpu_s or 0.0,
                    driver_mib=measured.first_mib or 0.0,
                    mib_written=size - before,
                    of_it=said,
                )
            )
            before = size
            print(_row(found[-1]), file=sys.stderr, flush=True)
    shutil.rmtree(run)
    return found


def _row(stage: Stage) -> str:
    per_million = stage.cpu_s / stage.items * _MILLION
    of_it = ", ".join(f"{name[: -len('_s')]} {value:.1f}" for name, value in stage.of_it.items())
    return (
        f"| {stage.items:,} | {stage.name} | {stage.wall_s:.0f} | {stage.cpu_s:.0f} | "
        f"{per_million:.1f} | {stage.driver_mib:.0f} | {stage.mib_written:.1f} | {of_it} |"
    )


def page(stages: list[Stage], loops: list[Loop], command: str) -> str:
    """The page of results."""
    head = circumstances(
        command,
        ("ray", "pyarrow", "boto3"),
        [("what", "two detections per image; shards of 256; two actors that only answer")],
    )
    rows = "\n".join(map(_row, stages))
    actors = "\n".join(
        f"| {loop.num_actors:,} | {loop.num_shards:,} | {loop.cpu_s:.1f} | "
        f"{loop.cpu_s / loop.num_shards * 1e6:.0f} |"
        for loop in loops
    )
    return f"""# A run of up to {max(stage.items for stage in stages):,} images, stage by stage

{head}

| items | stage | wall s | CPU s | CPU s per million | driver MiB | MiB written | of the CPU s |
|---|---|---|---|---|---|---|---|
{rows}

CPU: of the stage's process and all its descendants, Ray's daemons and the actors included, looked
at once a second. Driver MiB: the most that the stage's own process had resident, with libraries.
The made-up bucket's server runs beside the stage on the same cores.

## Many actors on one loop

The loop of `fcos detect` with a stand-in for Ray in the same process, whose actors answer at once:
what the driver itself computes for each shard.

| actors | shards | CPU s | microseconds per shard |
|---|---|---|---|
{actors}
"""


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--actors", type=int, nargs="+", default=[10, 100, 1_000])
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    started = time.monotonic()
    loops = [drive(num_actors, num_shards=20_000) for num_actors in options.actors]
    stages: list[Stage] = []
    for items in options.items:
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as work:
            stages += run_stages(items, Path(work))
    command = shlex.join(["python", "benchmarks/bench_scale.py", *sys.argv[1:]])
    path = options.results / page_name("scale")
    path.write_text(page(stages, loops, command), encoding="utf-8")
    print(f"{path}: {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
