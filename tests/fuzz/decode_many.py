"""Decodes mutated images in a process of its own, which a decoder may crash.

Usage: ``python -m tests.fuzz.decode_many SHARED_DATA SEED COUNT CASE_FILE``. CASE_FILE
holds the bytes that are being decoded, which are to blame when this process dies.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from fcos_core.errors import ImageError
from jobs.media.image.decode import decode_image, image_size
from tests.fuzz.mutations import mutate
from tests.fuzz.sources import sound_images

MAX_PIXELS = 4_000_000


def main(shared_data: str, seed: str, count: str, case_file: str) -> None:
    """Decode mutated images, and print their counts as one line of JSON."""
    sources = sound_images(Path(shared_data))
    names, donors = list(sources), list(sources.values())
    num_decoded, slowest_s, slowest = 0, 0.0, ""
    with Path(case_file).open("r+b" if Path(case_file).exists() else "w+b") as case:
        for number in range(int(count)):
            random = np.random.default_rng([int(seed), number])
            name = names[int(random.integers(len(names)))]
            data = mutate(sources[name], donors, random)
            case.seek(0)
            case.truncate()
            case.write(data)
            case.flush()
            started = time.perf_counter()
            num_decoded += _is_decoded(data)
            seconds = time.perf_counter() - started
            if seconds > slowest_s:
                slowest_s, slowest = seconds, f"{name}, number {number}"
    counts = {
        "count": int(count),
        "decoded": num_decoded,
        "slowest_s": slowest_s,
        "slowest": slowest,
    }
    sys.stdout.write(f"{json.dumps(counts)}\n")


def _is_decoded(data: bytes) -> bool:
    try:
        size = image_size(data, place="here")
        pixels = decode_image(data, place="here", max_pixels=MAX_PIXELS)
    except ImageError as error:
        reason = str(error)
    else:
        assert pixels.shape == (*size, 3)
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        return True
    assert "\n" not in reason
    assert reason.startswith("here: ")
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
