"""JPEG to pixels, in a process that need not import torch."""

from __future__ import annotations

from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np
import numpy.typing as npt

Photo = npt.NDArray[np.uint8]

PHOTO_HEIGHT, PHOTO_WIDTH = 480, 640
FRAME_BYTES = PHOTO_HEIGHT * PHOTO_WIDTH * 3


def decode(data: bytes) -> Photo:
    """Decode by OpenCV, or by torchvision where that is missing."""
    try:
        import cv2
    except ImportError:
        return _decode_by_torchvision(data)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def _decode_by_torchvision(data: bytes) -> Photo:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
    pixels = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def decode_file(file: str) -> Photo:
    return decode(Path(file).read_bytes())


def decode_into(name: str, slot: int, file: str) -> int:
    """Decode a file into a place of shared memory."""
    memory = SharedMemory(name=name)
    target = np.ndarray((PHOTO_HEIGHT, PHOTO_WIDTH, 3), np.uint8, memory.buf, slot * FRAME_BYTES)
    target[:] = decode_file(file)
    del target
    memory.close()
    return slot


def prepare() -> None:
    """One thread per image: many decode at the same time."""
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(1)
