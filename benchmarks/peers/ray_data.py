"""Peer: the pipeline of Ray's documentation. Read images, map batches over actors, write Parquet.

Every actor holds torchvision's FCOS. A row is a detection; its two times say when its batch was
computed, so that start-up can be told from work. Prints one line of JSON.
"""

# torch and Ray leave some types unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import ray
import torch
from published_fcos import load_fcos

Columns = dict[str, npt.NDArray[Any]]


class Detector:
    """What each actor of the pool holds."""

    def __init__(self, weights: Path, *, threads: int, device: str, score_threshold: float) -> None:
        torch.set_num_threads(threads)
        self._device = device
        self._model = load_fcos(weights, score_threshold).to(device)

    def __call__(self, batch: Mapping[str, npt.NDArray[Any]]) -> Columns:
        began_s = time.time()
        images = [
            torch.from_numpy(np.array(pixels)).to(self._device).permute(2, 0, 1).float() / 255
            for pixels in batch["image"]
        ]
        with torch.inference_mode():
            found = [
                {name: value.cpu().numpy() for name, value in detections.items()}
                for detections in self._model(images)
            ]
        counts = [len(detections["scores"]) for detections in found]
        boxes = np.concatenate([detections["boxes"] for detections in found])
        return {
            "path": np.repeat(np.asarray(batch["path"], dtype=object), counts),
            "label": np.concatenate([detections["labels"] for detections in found]),
            "score": np.concatenate([detections["scores"] for detections in found]),
            "x_min": boxes[:, 0],
            "y_min": boxes[:, 1],
            "x_max": boxes[:, 2],
            "y_max": boxes[:, 3],
            "began_s": np.full(sum(counts), began_s),
            "ended_s": np.full(sum(counts), time.time()),
        }


def main() -> None:
    options = _options()
    num_images = sum(path.is_file() for path in options.images.iterdir())
    os.environ.pop("RAY_ADDRESS", None)  # a cluster that happens to run here is not ours
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        launched = time.perf_counter()
        ray.init(address="local", _temp_dir=folder, include_dashboard=False, log_to_driver=False)
        started = time.perf_counter()
        dataset = ray.data.read_images(str(options.images), mode="RGB", include_paths=True)
        detected = dataset.map_batches(
            Detector,
            fn_constructor_args=(options.weights.resolve(),),
            fn_constructor_kwargs={
                "threads": options.threads,
                "device": options.device,
                "score_threshold": options.score_threshold,
            },
            batch_size=options.batch_size,
            compute=ray.data.ActorPoolStrategy(size=options.actors),
            **({"num_gpus": 1} if options.device == "cuda" else {"num_cpus": 1}),
        )
        detected.write_parquet(str(options.out.resolve()))
        seconds = time.perf_counter() - started
        ray.shutdown()
    print(
        json.dumps(
            {
                "peer": "ray data",
                "images": num_images,
                "seconds": seconds,
                "images_per_s": num_images / seconds,
                "ray_init_seconds": started - launched,
            }
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="folder of photos and nothing else")
    parser.add_argument("weights", type=Path, help="state dict of fcos_resnet50_fpn")
    parser.add_argument("out", type=Path, help="folder of Parquet files, a row per detection")
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="of each actor")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--score-threshold", type=float, default=0.2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
