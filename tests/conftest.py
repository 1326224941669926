"""What every test shares: reproducible randomness, one thread budget, the real data where it is at hand."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos and awkward files; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real photos and awkward files (../shared/data beside the checkout) are absent")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
