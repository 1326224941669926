"""Detections that say whether this project still computes what its numerics version names.

``python -m tests.fcos_core.golden_numerics`` adds this processor and torch to the golden file, and
after the version was raised writes it anew.
"""

import hashlib
import json
from typing import Any

import numpy as np
import torch

from fcos_core import Detections, Predictor, load_checkpoint
from fcos_core.numerics import NUMERICS_VERSION
from jobs.settings.demo import DemoConfig
from jobs.synthetic.scene import draw_scene
from tests.commands import ROOT

PATH = ROOT / "tests" / "golden" / "numerics.json"
CHECKPOINT = ROOT / "jobs" / "assets" / "demo" / "demo.safetensors"
NUM_IMAGES = 4


def place() -> str:
    """What decides the last bits beside this project: torch, and the processor's instructions."""
    return f"torch {torch.__version__.partition('+')[0]}, {torch.backends.cpu.get_cpu_capability()}"


def detect() -> list[Detections]:
    """Detections of the reference, by one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        predictor = Predictor(load_checkpoint(CHECKPOINT), device="cpu", score_threshold=0.3)
        images = [
            draw_scene(np.random.default_rng([DemoConfig().seed, i]))[0] for i in range(NUM_IMAGES)
        ]
        return predictor(images)
    finally:
        torch.set_num_threads(threads)


def digest(found: list[Detections]) -> str:
    """The sha256 of all bits."""
    hashed = hashlib.sha256()
    for one in found:
        for values in (one.boxes, one.scores, one.labels):
            hashed.update(values.contiguous().numpy().tobytes())
    return hashed.hexdigest()


def read() -> dict[str, Any]:
    return json.loads(PATH.read_text(encoding="utf-8"))


def main() -> None:
    """Write the golden file."""
    found = detect()
    golden = read() if PATH.exists() else {"numerics_version": None, "digests": {}}
    if golden["numerics_version"] == NUMERICS_VERSION:
        if golden["digests"].setdefault(place(), digest(found)) != digest(found):
            raise SystemExit("other bits than the golden ones: raise NUMERICS_VERSION first")
    else:
        golden = {
            "numerics_version": NUMERICS_VERSION,
            "digests": {place(): digest(found)},
            "detections": [
                {
                    "boxes": [[round(v, 4) for v in box] for box in one.boxes.tolist()],
                    "scores": [round(v, 6) for v in one.scores.tolist()],
                    "labels": one.labels.tolist(),
                }
                for one in found
            ],
        }
    PATH.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
