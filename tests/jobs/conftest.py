"""What the tests of jobs share: one local Ray."""

import contextlib
import gc
import warnings
from collections.abc import Generator
from types import ModuleType

import pytest

from jobs.parallel.ray_session import connected

NUM_CPUS = 4


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
