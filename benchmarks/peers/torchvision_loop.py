"""Peer: the loop of every tutorial. Read a photo, run torchvision's FCOS on it, keep what it found.

One photo at a time, fp32, no batches, no reading ahead. Prints one line of JSON.
"""

# torch and cv2 leave some types unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import torch
from published_fcos import load_fcos


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    model = load_fcos(options.weights, options.score_threshold).to(options.device)
    photos = sorted(path for path in options.images.iterdir() if path.is_file())
    found: dict[str, dict[str, list[object]]] = {}
    started = time.perf_counter()
    for photo in photos:
        pixels = cv2.imread(str(photo))
        if pixels is None:
            raise SystemExit(f"{photo.name}: OpenCV cannot read it")
        image = torch.from_numpy(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)).to(options.device)
        with torch.inference_mode():
            (detections,) = model([image.permute(2, 0, 1).float() / 255])
        found[photo.name] = {name: value.tolist() for name, value in detections.items()}
    seconds = time.perf_counter() - started
    options.out.write_text(json.dumps(found), encoding="utf-8")
    print(
        json.dumps(
            {
                "peer": "torchvision loop",
                "images": len(photos),
                "seconds": seconds,
                "images_per_s": len(photos) / seconds,
            }
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="folder of photos and nothing else")
    parser.add_argument("weights", type=Path, help="state dict of fcos_resnet50_fpn")
    parser.add_argument("out", type=Path, help="JSON file: boxes, scores, labels by file name")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--score-threshold", type=float, default=0.2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
