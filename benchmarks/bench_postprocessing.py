"""Post-processing of a batch in few steps, beside what it was: every pair scored.

Takes outputs of a ResNet-50 with random, calibrated weights on photos, decodes them both ways in
turn, in CPU time of one thread, and compares the detections bit by bit. Writes
``results/<date>_<hardware>_postprocessing.md``.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# torch.load has no types

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import previous_decoding
import torch
from machine import circumstances, page_name
from random_weights import make_state_dict
from torch import Tensor

from fcos_core import build_model
from fcos_core.config import torchvision
from fcos_core.decoding import decode
from fcos_core.images import make_batch
from fcos_core.locations import location_grid
from fcos_core.structures import HeadOutputs

HERE = Path(__file__).resolve().parent
CPU = torch.device("cpu")
PHOTO = (480, 640, 3)
PADDED = (800, 1088)
MILLISECONDS = 1000.0


@torch.inference_mode()
def main() -> int:
    """Run the measurement.

    Returns:
        0, or 1 if the detections differ.
    """
    options = _options()
    torch.set_num_threads(1)
    outputs, sizes = _outputs(options)
    lines = ["| threshold | batch | before, ms/image | now | ratio | detections | equal |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    are_equal = True
    for threshold in (0.2, 0.05, 0.0):
        for size in (1, 8):
            line, is_equal = _compare(outputs, sizes, threshold, size, options.rounds)
            lines.append(line)
            are_equal &= is_equal
    command = " ".join(["python", "benchmarks/bench_postprocessing.py", *sys.argv[1:]])
    rows = [
        ("outputs", f"{len(sizes)} photos at {PADDED[0]} x {PADDED[1]}, 91 classes, ResNet-50"),
        (
            "time",
            f"CPU of one thread, {options.rounds} rounds in turn, medians",
        ),
    ]
    head = circumstances(command, ("torch", "torchvision", "numpy"), rows)
    page = "\n\n".join(["# Post-processing", head, "\n".join(lines)])
    path = options.results / page_name("postprocessing")
    path.write_text(page + "\n", encoding="utf-8")
    print(page)
    return 0 if are_equal else 1


def _compare(
    outputs: HeadOutputs, sizes: Tensor, threshold: float, size: int, rounds: int
) -> tuple[str, bool]:
    config = torchvision()
    grid = location_grid(PADDED, outputs.level_shapes, config.encoding, CPU)
    decoding = replace(config.decoding, score_threshold=threshold)
    batch = outputs.first(size)

    def before() -> previous_decoding.DecodedBatch:
        return previous_decoding.decode(
            batch, grid, decoding, sizes=sizes[:size], unit_px=grid.strides
        )

    def now() -> previous_decoding.DecodedBatch:
        found = decode(batch, grid, decoding, sizes=sizes[:size], unit_px=grid.strides)
        return previous_decoding.DecodedBatch(found.boxes, found.scores, found.labels, found.counts)

    first, second = before(), now()
    is_equal = all(
        torch.equal(getattr(first, name), getattr(second, name))
        for name in ("counts", "boxes", "scores", "labels")
    )
    times = [(_cpu_ms(before) / size, _cpu_ms(now) / size) for _ in range(rounds)]
    old, new = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    count = float(second.counts.double().mean())
    line = f"| {threshold:g} | {size} | {old:.2f} | {new:.2f} | {ratio:.1f} | {count:.1f} | "
    return line + ("yes |" if is_equal else "no |"), is_equal


def _cpu_ms(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return MILLISECONDS * (time.process_time() - start)


def _outputs(options: argparse.Namespace) -> tuple[HeadOutputs, Tensor]:
    """The outputs for photos of one shape, and the sizes of the images inside their padding."""
    photos = []
    for path in sorted(options.images.rglob("*.jpg")):
        pixels = cv2.imread(str(path))
        if pixels is not None and pixels.shape == PHOTO:
            photos.append(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    photos = photos[: options.photos]
    calibration = [torch.from_numpy(photo).permute(2, 0, 1).float() / 255 for photo in photos[:4]]
    model = build_model("torchvision").eval()
    model.load_state_dict(
        make_state_dict(calibration, detections=20, score_threshold=0.2, seed=options.seed)
    )
    batches = [make_batch([photo], model.config.input, CPU, batch_size=1) for photo in photos]
    each = [model(batch.pixels) for batch in batches]
    joined = HeadOutputs(
        torch.cat([one.cls_logits for one in each]),
        torch.cat([one.distances for one in each]),
        torch.cat([one.centerness_logits for one in each]),
        each[0].level_shapes,
    )
    return joined, torch.cat([batch.sizes for batch in batches])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    default = HERE.parent.parent / "shared" / "data" / "coco_tiny"
    parser.add_argument("--images", type=Path, default=default, help="photos of 640 x 480")
    parser.add_argument("--photos", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
