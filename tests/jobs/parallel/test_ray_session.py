"""Which clusters can be joined, seen from a process that has no Ray yet; and how Ray is ended."""

import signal
import socket
import subprocess
import sys
from types import ModuleType

import pytest

from jobs.parallel import ray_session
from jobs.parallel.private_folder import private_folder
from tests.commands import run_python

TIMEOUT_S = 120  # on a busy machine; Ray itself was still trying after five minutes
JOIN = """
import sys
from fcos_core.errors import ConfigError
from jobs.parallel.ray_session import connected
try:
    with connected(sys.argv[1]):
        pass
except ConfigError as error:
    print(error)
"""


def said_of(address: str) -> str:
    done = run_python("-c", JOIN, address, timeout_s=TIMEOUT_S)
    assert done.code == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_gone_is_named_at_once(scheme: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can
        address = f"{scheme}127.0.0.1:{taken.getsockname()[1]}"
        assert (
            said_of(address) == f"Ray cluster {address!r} cannot be reached: Connection refused\n"
        )


def test_an_impossible_port_is_named() -> None:
    assert said_of("127.0.0.1:70000").startswith("Ray cluster '127.0.0.1:70000' cannot be reached:")


def test_a_shutdown_that_waits_for_a_process_ends_with_that_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_session, "_SHUTDOWN_S", 0.5)
    with (
        private_folder() as folder,
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)", f"--logs={folder}/logs"]
        ) as gcs_server,
    ):
        waiting = ModuleType("ray")
        waiting.shutdown = gcs_server.wait
        ray_session._shut_down(waiting, folder)
        assert gcs_server.poll() == -signal.SIGKILL


def test_rays_own_exit_on_sigterm_is_an_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), ray_session._exit_as_interrupt():
        sys.exit(signal.SIGTERM)
