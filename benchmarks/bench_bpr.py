"""``fcos bpr``: the sparse count beside the dense torch encoder, the whole command, and Ray.

Three measurements on generated files like COCO's (``coco_like.py``): the computation alone beside
the encoder that training uses, on the same images in turns (A B A B ...), whose results must be
equal; the whole command from its start to its end; and one process against two under Ray. Writes
``results/<date>_<hardware>_bpr.md``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from evaluate.coco_like import write_coco_like
from machine import circumstances, page_name
from process_tree import Measured
from process_tree import measure as measure_process

from fcos_core.config import EncodingConfig
from fcos_core.locations import level_sizes, location_grid
from fcos_core.metrics.bpr import BoxBlock, LocationRule, measure, named_rule, rule_names
from fcos_core.metrics.bpr.frames import boxes_in_frame, frames_of
from fcos_core.targets import assign
from jobs.annotations.coco_json import load_annotations
from jobs.bpr import BprConfig
from jobs.bpr import run as run_bpr

HERE = Path(__file__).resolve().parent
SMALL, LARGE = 5_000, 118_000
RULE = "paper"
ALL_RULES = " ".join(f"--rule {name}" for name in rule_names())
COMMANDS = (
    (SMALL, f"--rule {RULE}"),
    (SMALL, "--num-actors 2"),
    (LARGE, f"--rule {RULE}"),
    (LARGE, "--num-actors 1"),
    (LARGE, "--num-actors 2"),
    (LARGE, f"{ALL_RULES} --num-actors 1"),
    (LARGE, f"{ALL_RULES} --num-actors 2"),
)


def main() -> int:
    """Run the benchmark.

    Returns:
        0, or 1 when the two computations differ.
    """
    options = _options()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        files = {num_images: Path(name) / f"{num_images}.json" for num_images in (SMALL, LARGE)}
        for num_images, path in files.items():
            _say(f"writing {num_images} images ...")
            write_coco_like(path, num_images)
        _say("sparse and dense in turns ...")
        turns = compare(files[SMALL], options.dense_images, options.rounds)
        _say("computation alone ...")
        alone = {n: [compute(path) for _ in range(options.rounds)] for n, path in files.items()}
        _say("whole commands ...")
        whole: dict[tuple[int, str], list[Measured]] = {}
        for num_images, words in COMMANDS:
            rounds = options.rounds if num_images == SMALL else 1
            taken = [command(files[num_images], *words.split()) for _ in range(rounds)]
            whole[num_images, words] = taken
    page = report(turns, alone, whole)
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / page_name("bpr")
    path.write_text(page, encoding="utf-8")
    print(page)
    _say(f"written to {path}")
    return 0 if turns["equal"] else 1


def block_of(path: Path, num_images: int | None = None) -> BoxBlock:
    """Read a file's boxes that are no crowd regions, image by image."""
    truth = load_annotations(str(path), names="none")
    chosen = np.flatnonzero(~truth.is_crowd)
    chosen = chosen[np.argsort(truth.image_index[chosen], kind="stable")]
    if num_images is not None:
        chosen = chosen[truth.image_index[chosen] < num_images]
    return BoxBlock(
        truth.image_sizes[:num_images, ::-1],
        truth.image_index[chosen],
        truth.boxes[chosen],
        truth.labels[chosen],
    )


def compare(path: Path, num_images: int, rounds: int) -> dict[str, Any]:
    """Time both computations on the same images, in turns."""
    block = block_of(path, num_images)
    rule = named_rule(RULE)
    assert isinstance(rule, LocationRule)
    sparse_s: list[float] = []
    dense_s: list[float] = []
    equal = True
    for _ in range(rounds):
        began = time.perf_counter()
        outcomes = measure(block, rule)
        sparse_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        kept = dense_kept(block, rule)
        dense_s.append(time.perf_counter() - began)
        equal &= bool(np.array_equal(outcomes.num_kept.sum(axis=1), kept))
    return {
        "images": num_images, "boxes": len(block), "sparse_s": sparse_s, "dense_s": dense_s,
        "equal": equal,
    }  # fmt: skip


def dense_kept(block: BoxBlock, rule: LocationRule) -> np.ndarray:
    """Locations that learn each box by the encoder of training: every location, every box."""
    boxes = boxes_in_frame(block.boxes, block.image_index, block.image_sizes, rule.frame)
    padded = frames_of(block.image_sizes, rule.frame).padded.tolist()
    corners = torch.from_numpy(boxes)
    bounds = np.searchsorted(block.image_index, np.arange(len(padded) + 1)).tolist()
    kept = np.zeros(len(block), np.int64)
    for (height, width), first, last in zip(padded, bounds, bounds[1:], strict=False):
        if first == last:
            continue
        grid = _grid(height, width, rule.encoding)
        matched = assign(corners[first:last], grid, rule.encoding)
        kept[first:last] = np.bincount(matched[matched >= 0].numpy(), minlength=last - first)
    return kept


def _grid(height: int, width: int, encoding: EncodingConfig):
    rows, columns = level_sizes(height, encoding.strides), level_sizes(width, encoding.strides)
    shapes = tuple(zip(rows, columns, strict=True))
    return location_grid((height, width), shapes, encoding, torch.device("cpu"))


def compute(path: Path) -> tuple[int, float]:
    """Boxes, and seconds to measure them with all breakdowns, in this process, file read before."""
    truth = load_annotations(str(path), names="none")
    config = BprConfig(annotations=str(path), rules=(RULE,), num_actors=1)
    began = time.perf_counter()
    result = run_bpr(config, truth=truth)
    return result.rules[RULE]["total"], time.perf_counter() - began


def command(path: Path, *options: str) -> Measured:
    """The whole command, seen from outside: interpreter, imports, reading, table."""
    program = str(Path(sys.executable).with_name("fcos"))
    log = path.with_suffix(".log")
    return measure_process([program, "bpr", str(path), *options], os.environ, log)


def report(
    turns: dict[str, Any],
    alone: dict[int, list[tuple[int, float]]],
    whole: dict[tuple[int, str], list[Measured]],
) -> str:
    """Write the page.

    Args:
        turns: what ``compare`` found.
        alone: what ``compute`` found, by number of images.
        whole: what ``command`` found, by number of images and options.
    """
    sparse, dense = median(turns["sparse_s"]), median(turns["dense_s"])
    rows = [
        "| what | images | boxes | median s | every s |",
        "|---|---|---|---|---|",
        _row("sparse, in turns", turns["images"], turns["boxes"], turns["sparse_s"]),
        _row("dense torch encoder, in turns", turns["images"], turns["boxes"], turns["dense_s"]),
        *(
            _row(
                f"rule `{RULE}` computed, breakdowns included",
                images,
                found[0][0],
                [s for _, s in found],
            )
            for images, found in alone.items()
        ),
    ]
    commands = [
        "| command | images | median s | every s | peak MiB | cores of others |",
        "|---|---|---|---|---|---|",
        *(
            f"| `fcos bpr {options}` | {images} | {median(m.wall_s for m in found):.1f} | "
            f"{_listed([m.wall_s for m in found])} | {max(m.peak_mib or 0 for m in found):.0f} | "
            f"{max(m.others_cores or 0 for m in found):.1f} |"
            for (images, options), found in whole.items()
        ),
    ]
    same = "the same counts for every box" if turns["equal"] else "**different counts**"
    head = circumstances(
        " ".join(["python", "benchmarks/bench_bpr.py", *sys.argv[1:]]),
        ("numpy", "torch", "ray"),
        [("data", "seeded, `coco_like.py`; polygons as in COCO, which are read past")],
    )
    return (
        "\n\n".join(
            [
                "# `fcos bpr` beside the dense encoder",
                head,
                "## Computation",
                "\n".join(rows),
                f"The sparse count is **{dense / sparse:.0f} times** as fast as the dense encoder "
                f"that training uses, with {same} (medians, float64, "
                f"{torch.get_num_threads()} threads of torch against one of numpy).",
                "## Whole command",
                "\n".join(commands),
                "All rules named in the options; without `--rule` three. Two actors are Ray tasks, "
                "Ray's own start and end included.",
            ]
        )
        + "\n"
    )


def _row(what: str, images: int, boxes: int, seconds: list[float]) -> str:
    return f"| {what} | {images} | {boxes} | {median(seconds):.2f} | {_listed(seconds)} |"


def _listed(seconds: list[float]) -> str:
    return ", ".join(f"{s:.2f}" for s in seconds)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dense-images", type=int, default=500, help="compared in turns")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
