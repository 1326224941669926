"""Generated photos, weights that find objects in them, and the comparison of detections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.gpu.context import SCORE_THRESHOLD, Context
from benchmarks.gpu.decoding import PHOTO_HEIGHT, PHOTO_WIDTH, Photo
from benchmarks.same_detections import Difference, Found, compare
from fcos_core import FCOS
from fcos_core.structures import Detections

_OCTAVES = (4, 8, 16, 32, 64, 128, 256)
_NUM_CALIBRATION_PHOTOS = 2
_SEED = 0


def photos(context: Context) -> list[Photo]:
    """Smooth noise with the spectrum of photos, about one over frequency, and some hard edges."""
    generator = torch.Generator().manual_seed(_SEED)
    made: list[Photo] = []
    for _ in range(context.sizes.photos):
        image = torch.zeros(1, 3, PHOTO_HEIGHT, PHOTO_WIDTH)
        for cells in _OCTAVES:
            noise = torch.randn((1, 3, cells, cells * 4 // 3), generator=generator)
            image += F.interpolate(
                noise, size=(PHOTO_HEIGHT, PHOTO_WIDTH), mode="bicubic", align_corners=False
            ) * (4 / cells)
        for _ in range(12):
            place = torch.rand(2, generator=generator)
            top, left = int(place[0] * PHOTO_HEIGHT * 0.8), int(place[1] * PHOTO_WIDTH * 0.8)
            color = torch.randn((1, 3, 1, 1), generator=generator)
            image[:, :, top : top + PHOTO_HEIGHT // 6, left : left + PHOTO_WIDTH // 6] += color
        image = (image / image.std() * 50 + 120).clamp(0, 255)
        made.append(np.ascontiguousarray(image[0].permute(1, 2, 0).to(torch.uint8).numpy()))
    return made


def write_weights(context: Context) -> None:
    if context.sizes.is_small_model:
        torch.manual_seed(_SEED)
        model = FCOS(context.config())
        torch.nn.init.constant_(model.head.classification_head.cls_logits.bias, -1.5)
        torch.nn.init.normal_(model.head.classification_head.cls_logits.weight, std=0.3)
        torch.save(model.state_dict(), context.work / "weights.pt")
        return
    from benchmarks.random_weights import make_state_dict

    side = context.sizes.min_size_px
    samples = [
        F.interpolate(
            torch.from_numpy(photo)[None].permute(0, 3, 1, 2).float() / 255,
            size=(side, side), mode="bilinear", align_corners=False,
        )[0]
        for photo in photos(context)[:_NUM_CALIBRATION_PHOTOS]
    ]  # fmt: skip
    state = make_state_dict(samples, detections=40, score_threshold=SCORE_THRESHOLD, seed=_SEED)
    torch.save(state, context.work / "weights.pt")


def write_jpegs(context: Context, folder: Path, count: int) -> None:
    """Write ``count`` files, copies of the generated photos."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = [encode(photo) for photo in photos(context)]
    for i in range(count):
        (folder / f"{i:05}.jpg").write_bytes(encoded[i % len(encoded)])


def encode(photo: Photo) -> bytes:
    """JPEG by OpenCV, or by torchvision where that is missing."""
    try:
        import cv2
    except ImportError:
        from torchvision.io import encode_jpeg

        return encode_jpeg(torch.from_numpy(photo).permute(2, 0, 1), quality=90).numpy().tobytes()
    is_done, data = cv2.imencode(".jpg", photo[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert is_done
    return data.tobytes()


def found(detections: Sequence[Detections]) -> dict[str, Found]:
    return {
        str(i): Found(
            boxes=one.boxes.double().numpy(),
            scores=one.scores.double().numpy(),
            labels=one.labels.numpy(),
        )
        for i, one in enumerate(detections)
    }


def keep_reference(context: Context, detections: Sequence[Detections]) -> None:
    values = {
        f"{name}_{i}": getattr(one, name).numpy()
        for i, one in enumerate(detections)
        for name in ("boxes", "scores", "labels")
    }
    np.savez(context.work / "reference.npz", **values)


def drift(context: Context, detections: Sequence[Detections]) -> dict[str, float]:
    """How detections differ from those of eager fp32."""
    path = context.work / "reference.npz"
    if not path.exists():
        return {}
    kept = np.load(path)
    reference = [
        Detections(*(torch.from_numpy(kept[f"{n}_{i}"]) for n in ("boxes", "scores", "labels")))
        for i in range(len(detections))
    ]
    difference: Difference = compare(found(reference), found(detections))
    return {
        "reference": difference.num_reference,
        "found": difference.num_other,
        "matched": (difference.num_reference + difference.num_other - difference.num_alone) // 2,
        "max_box_px": round(difference.max_box_px, 4),
        "max_score": round(difference.max_score, 6),
    }
