"""How often bootstrap intervals hold the AP that they are about: as they are, and without the bias.

Draws many datasets from one seeded world of images, makes each one's 95 % intervals as ``fcos
evaluate --resamples`` does, and counts how many hold the expected AP: the mean over many other
datasets of the same size. Writes ``results/<date>_<hardware>_intervals.md``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from machine import circumstances, page_name

from fcos_core.metrics.bootstrap.intervals import CONFIDENCE, percentile_intervals, undefined_as_nan
from fcos_core.metrics.bootstrap.ranking import Rankings, boxes_to_find, rank
from fcos_core.metrics.bootstrap.resampling import resample, weighted_numbers
from fcos_core.metrics.coco import (
    METRIC_NAMES,
    DetectedBoxes,
    Settings,
    TrueBoxes,
    by_category,
    match,
)

HERE = Path(__file__).resolve().parent
CATEGORY_IDS = np.arange(1, 6)
SHOWN = ("AP", "AP50", "AP75", "AR100")
BOXES_PER_IMAGE = 4
WRONG_PER_IMAGE = 3


def main() -> int:
    """Run the measurement.

    Returns:
        0.
    """
    options = _options()
    expected = np.mean(
        [
            weighted_numbers(_rankings(options.seed, 1, i, options.images), _ones(options.images))
            for i in range(options.reference)
        ],
        axis=0,
    )
    held = {name: np.zeros(len(expected), np.int64) for name in ("moved by the bias", "plain")}
    for i in range(options.datasets):
        _say(f"dataset {i + 1} of {options.datasets} ...")
        rankings = _rankings(options.seed, 2, i, options.images)
        observed = undefined_as_nan(weighted_numbers(rankings, _ones(options.images)))
        drawn = undefined_as_nan(resample(rankings, i, 0, options.resamples))
        found = percentile_intervals(observed, drawn)
        for name, shift in (("moved by the bias", 0.0), ("plain", found.bias)):
            held[name] += (found.low + shift <= expected) & (expected <= found.high + shift)
    page = "\n\n".join([_head(options), _table(expected, held, options.datasets)])
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / page_name("intervals")
    path.write_text(page + "\n", encoding="utf-8")
    print(page)
    _say(f"written to {path}")
    return 0


def _head(options: argparse.Namespace) -> str:
    data = (
        f"{options.datasets} datasets of {options.images} images, {len(CATEGORY_IDS)} classes, "
        f"{BOXES_PER_IMAGE} objects per image on average, seed {options.seed}"
    )
    command = " ".join(["python", "benchmarks/bench_intervals.py", *sys.argv[1:]])
    rows = [
        ("data", data),
        ("intervals", f"{CONFIDENCE:.0%}, {options.resamples} resamples of the images each"),
        ("expected", f"mean over {options.reference} other datasets of the same size"),
    ]
    return "# Coverage of bootstrap intervals\n\n" + circumstances(command, ("numpy",), rows)


def _table(expected: np.ndarray, held: dict[str, np.ndarray], num_datasets: int) -> str:
    lines = [
        "| | expected | " + " | ".join(f"{name}: held" for name in held) + " |",
        "|---|---|---|---|",
    ]
    for name in SHOWN:
        at = METRIC_NAMES.index(name)
        shares = [f"{counts[at] / num_datasets:.0%}" for counts in held.values()]
        lines.append(f"| {name} | {expected[at]:.4f} | {' | '.join(shares)} |")
    first = len(METRIC_NAMES)
    shares = [f"{counts[first:].mean() / num_datasets:.0%}" for counts in held.values()]
    lines.append(f"| AP of one class, all {len(CATEGORY_IDS)} | | {' | '.join(shares)} |")
    return "\n".join(lines)


def _rankings(seed: int, purpose: int, index: int, num_images: int) -> Rankings:
    """Draw a dataset and rank its detections."""
    truth, found = _draw(np.random.default_rng([seed, purpose, index]), num_images)
    image_ids, settings = np.arange(num_images), Settings()
    matches = match(truth, found, CATEGORY_IDS, settings, image_ids=image_ids)
    to_find = boxes_to_find(truth, image_ids, CATEGORY_IDS, settings)
    return rank(by_category(matches), to_find, num_images, settings)


def _draw(random: np.random.Generator, num_images: int) -> tuple[TrueBoxes, DetectedBoxes]:
    """Images differ in how hard they are, so what is wrong comes in clusters, as in real ones."""
    hardness = random.beta(2, 3, num_images)
    image = np.repeat(np.arange(num_images), random.poisson(BOXES_PER_IMAGE, num_images))
    boxes = _boxes(random, len(image))
    category = random.choice(CATEGORY_IDS, len(image))
    truth = TrueBoxes(
        image, category, boxes, boxes[:, 2] * boxes[:, 3], np.zeros(len(image), np.bool_)
    )
    hit = np.flatnonzero(random.random(len(image)) > 0.6 * hardness[image])
    spread = 0.02 + 0.12 * hardness[image[hit], None]
    moved = boxes[hit] + random.normal(0, 1, (len(hit), 4)) * spread * boxes[hit][:, [2, 3, 2, 3]]
    moved[:, 2:] = np.maximum(moved[:, 2:], 1.0)
    of_hits = random.beta(5, 2 + 3 * hardness[image[hit]])
    other = np.repeat(np.arange(num_images), random.poisson(2 * WRONG_PER_IMAGE * hardness))
    found = DetectedBoxes(
        np.append(image[hit], other),
        np.append(category[hit], random.choice(CATEGORY_IDS, len(other))),
        np.concatenate([moved, _boxes(random, len(other))]),
        np.append(of_hits, random.beta(2, 5, len(other))),
    )
    return truth, found


def _boxes(random: np.random.Generator, count: int) -> np.ndarray:
    sides = np.exp(random.normal(4.0, 0.8, (count, 2)))
    return np.concatenate([random.uniform(0, 500, (count, 2)), sides], axis=1)


def _ones(num_images: int) -> np.ndarray:
    return np.ones(num_images, np.int64)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=100)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--reference", type=int, default=1000, help="datasets of the expected AP")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
