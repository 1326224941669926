"""What the fuzz tests share: the seed, and how many cases a test takes."""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from tests.jobs.tiny_model import save_tiny

SEED = int(os.environ.get("FUZZ_SEED", "0"))


def cases(few: int, many: int) -> pytest.MarkDecorator:
    """Run a test with few cases always, and with many where slow tests run.

    Args:
        few: seconds of them.
        many: minutes.
    """
    sizes = [
        pytest.param(few, id="few"),
        pytest.param(many, id="many", marks=pytest.mark.slow),
    ]
    return pytest.mark.parametrize("count", sizes)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny model."""
    return save_tiny(tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def _kept_threads() -> Generator[None]:
    """Put torch's number of threads back, which a worker in this process changes."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
