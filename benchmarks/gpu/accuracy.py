"""Step 10: AP of the bundled checkpoint on the demo's images, by engine and precision."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.bare import ROOT, missing
from benchmarks.gpu.context import Context, SkippedError
from benchmarks.gpu.decoding import decode
from fcos_core import FCOS
from fcos_core.config import config_from_dict
from fcos_core.metrics.coco import (
    DetectedBoxes,
    Settings,
    TrueBoxes,
    accumulate,
    by_category,
    match,
    summarize,
)
from fcos_core.predictor import Predictor
from fcos_core.structures import Category, Detections

_CHECKPOINT = ROOT / "jobs" / "assets" / "demo" / "demo.safetensors"
_TYPES = {"F32": torch.float32, "F16": torch.float16, "I64": torch.int64}
_BATCH = 8
_SEED = 0


def run(context: Context) -> None:
    if reason := missing("cv2"):
        raise SkippedError(f"the demo's images are drawn with OpenCV; {reason}")
    try:
        from jobs.synthetic.dataset import generate
    except ImportError as error:
        raise SkippedError(f"the demo's dataset cannot be made here: {error}") from error
    annotations = generate(context.work / "demo", num_images=context.sizes.demo_images, seed=_SEED)
    described = json.loads(annotations.read_text())
    images = [
        decode_file(annotations.parent / "images" / Path(image["file_name"]).name)
        for image in described["images"]
    ]
    first: dict[str, float] = {}
    on_cuda = [("cuda", "bf16"), ("cuda", "fp16"), ("cuda", "fp32")] if context.is_cuda else []
    for engine, precision in [
        ("eager", "fp32"), ("eager", "bf16"), ("folded", "fp32"), ("folded", "bf16"), *on_cuda,
    ]:  # fmt: skip
        context.try_part(
            "AP", lambda e=engine, p=precision: _one(context, e, p, images, described, first)
        )


def decode_file(path: Path) -> np.ndarray:
    if path.suffix in {".jpg", ".jpeg"}:
        return decode(path.read_bytes())
    import cv2

    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def _one(
    context: Context, engine: str, precision: str, images: list, described: dict, first: dict
) -> None:
    predictor = Predictor(
        demo_model(), device=context.device, engine=engine, precision=precision, batch_size=_BATCH
    )
    numbers = _evaluate(predictor(images), described, predictor.model)
    first.setdefault("AP", numbers["AP"])
    context.record(
        "AP", engine=engine, precision=precision, images=len(images), AP=round(numbers["AP"], 5),
        change=round(numbers["AP"] - first["AP"], 5), AP50=round(numbers["AP50"], 5),
        AP75=round(numbers["AP75"], 5),
    )  # fmt: skip


def _evaluate(found: list[Detections], described: dict, model: FCOS) -> dict[str, float]:
    truth = described["annotations"]
    true_boxes = TrueBoxes(
        np.array([box["image_id"] for box in truth], np.int64),
        np.array([box["category_id"] for box in truth], np.int64),
        np.array([box["bbox"] for box in truth], np.float64).reshape(-1, 4),
        np.array([box["area"] for box in truth], np.float64),
        np.array([bool(box.get("iscrowd")) for box in truth], bool),
    )
    counts = [len(one) for one in found]
    boxes = np.concatenate([one.boxes.double().numpy() for one in found])
    boxes[:, 2:] -= boxes[:, :2]
    ids = np.array([category.id for category in model.categories], np.int64)
    detected = DetectedBoxes(
        np.repeat([image["id"] for image in described["images"]], counts).astype(np.int64),
        ids[np.concatenate([one.labels.numpy() for one in found])],
        boxes,
        np.concatenate([one.scores.double().numpy() for one in found]),
    )
    settings = Settings()
    categories = np.array(sorted(one["id"] for one in described["categories"]), np.int64)
    matches = match(true_boxes, detected, categories, settings)
    return summarize(accumulate(by_category(matches), len(categories), settings), settings)


def demo_model() -> FCOS:
    """The bundled checkpoint, read without the safetensors package, which may be missing."""
    data = _CHECKPOINT.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    about = header.pop("__metadata__")
    categories = [Category(**one) for one in json.loads(about["categories"])]
    model = FCOS(config_from_dict(json.loads(about["config"])), categories)
    values = bytearray(data[8 + length :])
    model.load_state_dict(
        {
            name: torch.frombuffer(
                values, dtype=_TYPES[one["dtype"]], offset=one["data_offsets"][0],
                count=int(np.prod(one["shape"])),
            ).reshape(one["shape"])
            for name, one in header.items()
        }
    )  # fmt: skip
    return model.eval()
