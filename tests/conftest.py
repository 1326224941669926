"""What every test shares: reproducible randomness, and the real data where it is at hand."""

# torch leaves the type of manual_seed() partly unknown.
# pyright: reportUnknownMemberType=false

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
    """Real photos and awkward files; tests that need them skip where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real photos (../shared/data beside the checkout) are absent")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
