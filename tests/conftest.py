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


def pytest_configure() -> None:
    """Give each of several test processes its share of the cores."""
    if num_workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_workers))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests of a file together, and all that start Ray or the command in one process."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        starts_processes = item.get_closest_marker("ray") or "end_to_end" in item.path.parts
        group = "processes" if starts_processes else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos and awkward files; tests that need them skip where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real photos (../shared/data beside the checkout) are absent")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
