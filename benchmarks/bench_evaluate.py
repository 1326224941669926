"""``fcos evaluate`` beside pycocotools and faster-coco-eval, on the same detections, in one go.

The three take turns in processes of their own on generated annotations and results like COCO's (80
classes, 100 detections per image); reading the files is not in the times, everything from there to
the twelve numbers is. The numbers must be pycocotools' bit for bit. Then a run directory of a
million images is scored by the command itself. Writes ``results/<date>_<hardware>_evaluate.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from evaluate.data import write_pair, write_run
from evaluate_peers import JUDGE, NAMES, OURS, Turn, take_turn
from machine import circumstances, page_name
from process_tree import Measured
from process_tree import measure as measure_process

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the benchmark.

    Returns:
        0, or 1 when a number differs from pycocotools'.
    """
    options = _options()
    tables: list[str] = []
    is_same = True
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        for num_images in options.images:
            _say(f"writing {num_images} images ...")
            pair = write_pair(folder / str(num_images), num_images)
            turns: dict[str, list[Turn]] = {name: [] for name in NAMES}
            for number in range(1, options.rounds + 1):
                for name in NAMES:
                    _say(f"round {number}, {num_images} images: {name} ...")
                    turns[name].append(take_turn(name, pair))
            is_same &= all(turn.numbers == turns[JUDGE][0].numbers for turn in turns[OURS])
            tables.append(_table(num_images, turns))
        if options.large:
            _say(f"writing a run of {options.large} images ...")
            large = _large(_large_run(options.large_folder or folder, options.large))
            tables.append(_large_table(options.large, large))
    head = circumstances(
        " ".join(["python", "benchmarks/bench_evaluate.py", *sys.argv[1:]]),
        ("numpy", "pycocotools", "faster-coco-eval"),
        [("data", "seeded, `evaluate/data.py`; 80 classes"), ("order", ", ".join(NAMES))],
    )
    page = "\n\n".join(["# `fcos evaluate` beside pycocotools and faster-coco-eval", head, *tables])
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / page_name("evaluate")
    path.write_text(page + "\n", encoding="utf-8")
    print(page)
    _say(f"written to {path}")
    return 0 if is_same else 1


def _table(num_images: int, turns: dict[str, list[Turn]]) -> str:
    ours = median(turn.seconds for turn in turns[OURS])
    rows = [
        f"## {num_images} images, 100 detections each",
        "",
        "| | median s | every s | ours is faster by | MiB | AP |",
        "|---|---|---|---|---|---|",
    ]
    for name, taken in turns.items():
        seconds = median(turn.seconds for turn in taken)
        ratio = "" if name == OURS else f"{seconds / ours:.1f}"
        every = ", ".join(f"{turn.seconds:.1f}" for turn in taken)
        rows.append(
            f"| {name} | {seconds:.1f} | {every} | {ratio} | "
            f"{max(turn.peak_mib for turn in taken):.0f} | {taken[0].numbers[0]!r} |"
        )
    same = turns[OURS][0].numbers == turns[JUDGE][0].numbers
    rows += ["", f"The twelve numbers of ours {'are' if same else '**are not**'} pycocotools' own."]
    return "\n".join(rows)


def _large_run(folder: Path, num_images: int) -> tuple[Path, Path]:
    """Write the run, or take the one that an earlier call wrote to the end."""
    made = folder / f"run-of-{num_images}"
    found = made / "RUN", made / "annotations.json"
    return found if (made / "complete").exists() else _complete(made, num_images)


def _complete(made: Path, num_images: int) -> tuple[Path, Path]:
    run = write_run(made, num_images)
    (made / "complete").touch()
    return run


def _large(run: tuple[Path, Path]) -> Measured:
    """The command itself, from its start to its end."""
    directory, annotations = run
    program = str(Path(sys.executable).with_name("fcos"))
    command = [program, "evaluate", str(directory), "--annotations", str(annotations)]
    return measure_process(command, os.environ, directory.with_suffix(".log"))


def _large_table(num_images: int, measured: Measured) -> str:
    said = json.loads(measured.stdout.splitlines()[-1])
    return (
        f"## {num_images} images, {said['detections']} detections\n\n"
        f"`fcos evaluate RUN`, the proof of completeness included: {measured.wall_s:.0f} s; the "
        f"largest process had {measured.largest_mib:.0f} MiB resident, all of them together "
        f"{measured.peak_mib:.0f} MiB."
    )


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="*", default=[5_000, 20_000])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--large", type=int, default=1_000_000, help="images of the large run")
    parser.add_argument("--large-folder", type=Path, help="keep it here, for another time")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
