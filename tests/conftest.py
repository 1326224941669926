"""What every test shares: reproducible randomness, and the real data where it is at hand."""

# torch leaves the type of manual_seed() partly unknown.
# pyright: reportUnknownMemberType=false

import os
import uuid
from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from jobs.storage.s3.client import disconnect
from tests import commands, s3_servers
from tests.jobs.tiny_model import save_tiny

SHAPES = ((48, 64), (64, 48), (40, 40))
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure() -> None:
    """Give each of several test processes its share of the cores."""
    if num_workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_workers))
    # Engines keep converted models there; the user's own cache is none of the tests' business.
    os.environ["XDG_CACHE_HOME"] = str(commands.ROOT / ".pytest_cache" / "home")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they start, so that ``make test-fast`` can leave them out."""
    for item in items:
        fixtures: set[str] = set(getattr(item, "fixturenames", ()))
        if "ray" in fixtures:
            item.add_marker("ray")
        if fixtures & {"s3_server", "browser"}:
            item.add_marker("server")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let only tests with a marker start whole commands, so that ``make test-fast`` has none."""
    marks = (item.get_closest_marker(name) for name in ("command", "ray", "slow"))
    commands.are_allowed = any(marks)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny model."""
    return save_tiny(tmp_path_factory.mktemp("weights"))


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


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real photos and awkward files; tests that need them skip where they are absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real photos (../shared/data beside the checkout) are absent")
    return SHARED_DATA


@pytest.fixture(scope="session", params=s3_servers.NAMES)
def s3_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[s3_servers.S3Server]:
    """A real server that speaks S3, once per kind that can be run here."""
    why_not = s3_servers.why_not(request.param)
    if why_not is not None:
        pytest.skip(why_not)
    with s3_servers.running(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server
    disconnect()


@pytest.fixture
def s3(s3_server: s3_servers.S3Server, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    """The uri of a place on it that nothing else uses, with this process set up to reach it."""
    for name in _s3_environment():
        monkeypatch.delenv(name)
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    before = _s3_environment()
    yield f"s3://{s3_servers.BUCKET}/{uuid.uuid4().hex[:8]}"
    if _s3_environment() != before:  # otherwise the next test may have the connection
        disconnect()


def _s3_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in os.environ if name.startswith(("AWS_", "FCOS_S3_"))}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _kept_threads() -> Generator[None]:
    """Put torch's number of threads back, which a worker in this process changes."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
