"""A machine that the network loses, for good or for two seconds."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.chaos import networks
from tests.chaos.cut_off import NUM_SHARDS, PORT
from tests.chaos.nodes import cluster_environment
from tests.commands import run_python

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TIMEOUT_S = 300
HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 5,
}
NODE = ("--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats", "--block")


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Of both nodes and the driver."""
    # Ray takes any value for "this is Windows or OSX".
    return {**cluster_environment(), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}


@pytest.fixture
def cable(environment: dict[str, str]) -> Generator[networks.Cable]:
    """Two machines with a Ray node each; the first is the head."""
    if (missing := networks.why_not()) is not None:
        pytest.skip(missing)
    with networks.joined() as cable, contextlib.ExitStack() as nodes:
        head = (
            *("--head", f"--node-ip-address={networks.HERE}", f"--port={PORT}"),
            *("--include-dashboard=false", f"--system-config={json.dumps(HEALTH_CHECKS)}"),
        )
        other = (f"--address={networks.HERE}:{PORT}", f"--node-ip-address={networks.THERE}")
        for name, arguments in ((cable.here, head), (cable.there, other)):
            nodes.enter_context(ray_node(name, arguments, environment))
        yield cable


@contextlib.contextmanager
def ray_node(name: str, arguments: Sequence[str], environment: dict[str, str]) -> Generator[None]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments, *NODE]
    with subprocess.Popen(
        networks.command_in(name, command),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as node:
        try:
            said: list[str] = []
            assert node.stdout is not None
            for line in node.stdout:
                said.append(line)
                if "--block" in line:  # the node has started
                    break
            else:
                raise AssertionError("".join(said))
            yield
        finally:
            node.terminate()


def happened(
    cable: networks.Cable, environment: dict[str, str], notes: Path, *, mended_s: float
) -> dict[str, Any]:
    return run_python(
        *("-m", "tests.chaos.cut_off", cable.here, cable.there, notes, mended_s),
        prefix=networks.command_in(cable.here, []),
        environment=environment,
        timeout_s=TIMEOUT_S,
    ).result()


def test_shards_of_a_machine_that_is_cut_off_go_to_others_and_cost_no_attempt(
    cable: networks.Cable, environment: dict[str, str], tmp_path: Path
) -> None:
    found = happened(cable, environment, tmp_path, mended_s=0)
    assert found["was_cut"]
    assert found["shards"] == list(range(NUM_SHARDS))  # with max_attempts=1: none was counted


def test_a_cable_that_is_out_for_a_moment_costs_nothing(
    cable: networks.Cable, environment: dict[str, str], tmp_path: Path
) -> None:
    found = happened(cable, environment, tmp_path, mended_s=2)
    assert found["was_cut"]
    assert found["shards"] == list(range(NUM_SHARDS))
