"""What the tests of jobs share: one local Ray and a folder of small images."""

import contextlib
import gc
import warnings
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from jobs.parallel.ray_session import connected

NUM_CPUS = 4
SHAPES = ((48, 64), (64, 48), (40, 40))


@pytest.fixture(scope="session")
def ray() -> Generator[ModuleType]:
    """A cluster as ``fcos`` starts it, for all tests that dispatch."""
    with contextlib.ExitStack() as stack:
        with warnings.catch_warnings():
            # On a busy machine a start is given up and tried again; Python finds what it leaves.
            warnings.filterwarnings("ignore", r"subprocess \d+ is still running", ResourceWarning)
            session = stack.enter_context(connected(None, num_cpus=NUM_CPUS))
            gc.collect()
        yield session
    from ray._private.services import ConsolePopen  # once ray is imported as fcos imports it

    # Ray ends its processes without waiting for them, of which Python would warn at its own end.
    for process in gc.get_objects():
        if type(process) is ConsolePopen:
            process.wait(timeout=60)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seeded images of three shapes in turn, among them a broken and an empty file."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(7)
    for i in range(20):
        height, width = SHAPES[i % len(SHAPES)]
        pixels = cv2.GaussianBlur(random.integers(0, 256, (height, width, 3), np.uint8), (7, 7), 2)
        assert cv2.imwrite(str(folder / f"{i:02d}.png"), pixels)
    whole = (folder / "05.png").read_bytes()
    (folder / "05.png").write_bytes(whole[: len(whole) // 2])
    (folder / "11.png").write_bytes(b"")
    return folder
