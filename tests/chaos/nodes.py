"""A Ray cluster of several nodes on this machine, whose nodes can be killed like machines.

The nodes belong to a process of their own (``python -m tests.chaos.nodes``), so that the test's own
Ray is not affected. It ends when its standard input ends, and with it all nodes.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false, reportPrivateUsage=false
# Ray has no types, and no public name for the processes of a node

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.commands import ROOT
from tests.processes import actors_below, children_below

TIMEOUT_S = 120

_START_ATTEMPTS = 5
_OBJECT_STORE_BYTES = 80 * 2**20

# A node is taken for dead after 4 s instead of 30, so that a test is short.
_HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 2000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 4,
}


def cluster_environment() -> dict[str, str]:
    """The environment of the nodes and of every driver that connects to them."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_metrics_collection": "0",
        "RAY_worker_niceness": "0",
        "OMP_NUM_THREADS": "1",
    }


@dataclass
class Nodes:
    """The cluster, seen from the test.

    Attributes:
        address: value of ``--address``.
        environment: of a driver that connects to the cluster.
        raylets: process ids of the nodes that may be killed, without the head.
    """

    address: str
    environment: Mapping[str, str]
    raylets: list[int]
    _host: "subprocess.Popen[str]"

    def workers(self) -> list[int]:
        """Process ids of the workers on all nodes."""
        return actors_below(self._host.pid)

    def kill(self, raylet: int) -> None:
        """Kill a node at once, like a power cut of its machine."""
        self.raylets.remove(raylet)
        below = children_below(raylet)
        for pid in (raylet, *below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_head(self) -> None:
        """Kill the processes of the head, without which a cluster ends."""
        for pid, line in children_below(self._host.pid).items():
            if "gcs_server" in line:
                os.kill(pid, signal.SIGKILL)

    def add(self) -> None:
        """Add another node."""
        assert self._host.stdin is not None
        self._host.stdin.write("add\n")
        self._host.stdin.flush()
        self.raylets.append(_answer(self._host)["raylet"])


@contextlib.contextmanager
def running_nodes(
    num_nodes: int, *, cpus_each: int, environment: Mapping[str, str]
) -> Generator[Nodes]:
    """Start a head without CPUs, and nodes with CPUs.

    Args:
        num_nodes: number of nodes besides the head.
        cpus_each: CPUs of each node.
        environment: of all processes of the cluster: ``cluster_environment()``, with additions.

    Yields:
        The cluster.
    """
    command = [sys.executable, "-m", "tests.chaos.nodes", str(num_nodes), str(cpus_each)]
    for attempt in range(1, _START_ATTEMPTS + 1):
        with _hosted(command, environment) as host:
            try:
                answer = _answer(host)
            except _HostEndedError:
                # Ray's limit of 30 s for the start of a node has passed on a busy machine.
                if attempt == _START_ATTEMPTS:
                    raise
                continue
            yield Nodes(answer["address"], environment, answer["raylets"], host)
        return


class _HostEndedError(Exception):
    """The process that holds the nodes has ended."""


@contextlib.contextmanager
def _hosted(
    command: Sequence[str], environment: Mapping[str, str]
) -> Generator["subprocess.Popen[str]"]:
    host = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield host
    finally:
        below = children_below(host.pid)
        assert host.stdin is not None
        host.stdin.close()
        try:
            host.wait(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            host.kill()
            host.wait()
        assert host.stdout is not None
        host.stdout.close()
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _answer(host: "subprocess.Popen[str]") -> dict[str, Any]:
    assert host.stdout is not None
    line = host.stdout.readline()
    if not line:
        raise _HostEndedError(f"exit code {host.wait(timeout=TIMEOUT_S)}")
    return json.loads(line)


def _serve(num_nodes: int, cpus_each: int) -> None:
    """Hold the nodes until standard input ends."""
    # The test reads JSON from stdout, so Ray's own output goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_system_config": _HEALTH_CHECKS,
        },
    )

    def add() -> int:
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                node = cluster.add_node(num_cpus=cpus_each, object_store_memory=_OBJECT_STORE_BYTES)
            except Exception as error:  # Ray's limit has passed; a node that starts late is unused
                if type(error) not in {Exception, TimeoutError} or attempt == _START_ATTEMPTS:
                    raise
            else:
                return node.all_processes["raylet"][0].process.pid
        raise AssertionError

    def send(**fields: Any) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    send(address=cluster.address, raylets=[add() for _ in range(num_nodes)])
    for line in sys.stdin:
        assert line.strip() == "add"
        send(raylet=add())
    cluster.shutdown()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
