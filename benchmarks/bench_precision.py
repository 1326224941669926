"""AP and detections of the bundled checkpoint by engine and precision, on the demo's images.

The gate of every engine and precision that is offered: AP within 0.002 of the reference, eager in
fp32. Writes ``results/<date>_<hardware>_precision.md`` and fails where one is outside.
"""

# pycocotools has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from machine import circumstances, page_name
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from same_detections import Difference, Found, compare

from fcos_core import Predictor, load_checkpoint
from fcos_core.config import EngineName, Precision
from fcos_core.errors import ConfigError
from jobs.settings.demo import DemoConfig
from jobs.synthetic import generate

HERE = Path(__file__).resolve().parent
CHECKPOINT = HERE.parent / "jobs" / "assets" / "demo" / "demo.safetensors"
MAX_AP_DIFFERENCE = 0.002
SCORE_THRESHOLD = 0.05
FP32: tuple[tuple[EngineName, Precision], ...] = (
    ("eager", "fp32"),
    ("folded", "fp32"),
    ("openvino", "fp32"),
)
BF16: tuple[tuple[EngineName, Precision], ...] = (
    ("eager", "bf16"),
    ("folded", "bf16"),
    ("openvino", "bf16"),
)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An engine in a precision.

    Attributes:
        name: of both.
        ap: COCO's, over all images.
        difference: of the detections from the reference's.
        cpu_ms: of an image, median.
    """

    name: str
    ap: float
    difference: Difference
    cpu_ms: float


def judge(
    folder: Path,
    num_images: int,
    *,
    device: str = "cpu",
    contestants: Sequence[tuple[EngineName, Precision]] = (*FP32, *BF16),
) -> tuple[list[Judged], list[str]]:
    """Run every engine that works here over the first of the demo's images.

    Returns:
        The engines, the reference first; and for each that does not work here, why.
    """
    annotations = generate(folder, num_images=num_images, seed=DemoConfig().seed)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
    names = {one["id"]: one["file_name"] for one in truth.dataset["images"]}
    images = {
        image_id: cv2.cvtColor(cv2.imread(str(folder / "images" / name)), cv2.COLOR_BGR2RGB)
        for image_id, name in names.items()
    }
    judged: list[Judged] = []
    left_out: list[str] = []
    reference: Mapping[str, Found] = {}
    for engine, precision in contestants:
        try:
            predictor = Predictor(
                load_checkpoint(CHECKPOINT),
                device=device,
                engine=engine,
                precision=precision,
                score_threshold=SCORE_THRESHOLD,
            )
        except ConfigError as error:
            left_out.append(f"{engine} {precision}: {error}")
            continue
        found, cpu_ms = _detect(predictor, images)
        reference = reference or found
        judged.append(
            Judged(
                name=f"{engine} {precision}",
                ap=_average_precision(truth, found),
                difference=compare(reference, found),
                cpu_ms=cpu_ms,
            )
        )
    return judged, left_out


def outside(judged: Sequence[Judged]) -> list[str]:
    """Name the engines whose AP is too far from the reference's."""
    reference = judged[0].ap
    return [one.name for one in judged if abs(one.ap - reference) > MAX_AP_DIFFERENCE]


def _detect(
    predictor: Predictor, images: Mapping[int, np.ndarray]
) -> tuple[dict[str, Found], float]:
    ids = np.array([category.id for category in predictor.model.categories])
    found: dict[str, Found] = {}
    seconds: list[float] = []
    for image_id, image in images.items():
        started = time.process_time()
        (one,) = predictor.predict_batch([image])
        seconds.append(time.process_time() - started)
        found[str(image_id)] = Found(
            boxes=one.boxes.double().numpy(),
            scores=one.scores.double().numpy(),
            labels=ids[one.labels.numpy()],
        )
    return found, 1000 * statistics.median(seconds)


def _average_precision(truth: COCO, found: Mapping[str, Found]) -> float:
    results = [
        {
            "image_id": int(image_id),
            "category_id": int(label),
            "bbox": [x, y, right - x, bottom - y],
            "score": float(score),
        }
        for image_id, one in found.items()
        for (x, y, right, bottom), score, label in zip(
            one.boxes.tolist(), one.scores, one.labels, strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        scoring = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    return float(scoring.stats[0])


def make_page(judged: Sequence[Judged], left_out: Sequence[str], num_images: int) -> str:
    """Write the page."""
    reference = judged[0]
    head = circumstances(
        f"python benchmarks/bench_precision.py --images {num_images}",
        ("torch", "torchvision", "pycocotools"),
        (
            ("data", f"{num_images} images of the demo; the bundled checkpoint, batch 1"),
            ("threads", str(torch.get_num_threads())),
        ),
    )
    lines = [
        "# Engines and precisions: AP on the demo's images\n",
        head,
        "",
        "| engine | AP | difference | detections | without counterpart | box px | score | "
        "CPU ms per image |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in judged:
        found = one.difference
        lines.append(
            f"| {one.name} | {one.ap:.4f} | {one.ap - reference.ap:+.4f} | {found.num_other} "
            f"| {found.num_alone} | {found.max_box_px:.2g} | {found.max_score:.2g} "
            f"| {one.cpu_ms:.1f} |"
        )
    lines += [
        "",
        f"Gate: within {MAX_AP_DIFFERENCE} of {reference.name}. *Without counterpart*: detections "
        "of either that the other does not have, within 1 px and of the same class.",
        *(f"\nNot run here: {text}." for text in left_out),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the benchmark.

    Returns:
        0, or 1 when an engine is outside the gate.
    """
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        judged, left_out = judge(Path(name), options.images, device=options.device)
    page = make_page(judged, left_out, options.images)
    options.results.mkdir(parents=True, exist_ok=True)
    path = options.results / page_name("precision")
    path.write_text(page, encoding="utf-8")
    print(page)
    return 1 if outside(judged) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=DemoConfig().num_images)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
