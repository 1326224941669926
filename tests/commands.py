"""Commands as processes of their own, as a shell starts them, and what they answer.

They import this checkout, whatever is installed, and run in a folder of their own.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.processes import children_below, wait_until

ROOT = Path(__file__).resolve().parents[1]
DONE, CANNOT_WORK, INCOMPLETE, INTERRUPTED = 0, 2, 3, 130

are_allowed = True
"""Whether the test that runs may start ``fcos``; tests/conftest.py asks for a marker."""

TIMEOUT_S = 600
"""The limit of one command: a busy machine takes a minute to start Ray."""


@dataclass(frozen=True)
class Answer:
    """What a command answered.

    Attributes:
        code: the exit code; negative for the signal that killed the process.
        stdout: all text on standard output.
        stderr: all text on standard error.
    """

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The line that says why the command failed; empty when it did not."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == (self.code != DONE), f"exit code {self.code}: {self.stderr}"
        return lines[0].removeprefix("error: ") if lines else ""

    def result(self, code: int = DONE) -> dict[str, Any]:
        """The line of JSON of a command that must have ended with this exit code."""
        assert self.code == code, f"exit code {self.code}: {self.stderr}"
        return json.loads(self.stdout.splitlines()[-1])


@dataclass(frozen=True)
class Running:
    """A command that runs in a process group of its own."""

    process: "subprocess.Popen[str]"

    @property
    def pid(self) -> int:
        return self.process.pid

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def wait_until(self, is_true: Callable[[], Any]) -> None:
        """Wait for a moment, or for the end of the command if that comes first."""
        wait_until(lambda: is_true() or self.has_ended(), timeout_s=TIMEOUT_S)

    def send(self, number: signal.Signals, *, to_group: bool = False) -> None:
        """Send a signal to the command, or to its whole group as a terminal does."""
        if to_group:
            os.killpg(self.pid, number)
        else:
            self.process.send_signal(number)

    def kill(self) -> Answer:
        """End the command at once, and leave the processes below it alone."""
        self.process.kill()
        return self.finish()

    def finish(self, timeout_s: float = TIMEOUT_S) -> Answer:
        """Wait for the end of the command."""
        out, err = self.process.communicate(timeout=timeout_s)
        return Answer(self.process.returncode, out or "", err or "")


@contextlib.contextmanager
def started(*arguments: object, **options: Any) -> Generator[Running]:
    """Start ``fcos``; where it still runs at the end of the block, it is killed with its children.

    Args:
        arguments: the arguments of ``fcos``.
        options: ``cwd``, ``environment`` and ``stdout`` as for ``started_python``.

    Yields:
        The running command.
    """
    assert are_allowed, "mark what starts fcos: @pytest.mark.command, or ray when it starts Ray"
    with started_python("-m", "jobs.cli", *arguments, **options) as running:
        yield running


def fcos(*arguments: object, timeout_s: float = TIMEOUT_S, **options: Any) -> Answer:
    """Run ``fcos`` to its end; see ``started``."""
    with started(*arguments, **options) as running:
        return running.finish(timeout_s)


def run_python(*arguments: object, timeout_s: float = TIMEOUT_S, **options: Any) -> Answer:
    """Run Python with these arguments (``-c`` and code, ``-m`` and a module) to its end."""
    with started_python(*arguments, **options) as running:
        return running.finish(timeout_s)


@contextlib.contextmanager
def started_python(
    *arguments: object,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdout: Any = subprocess.PIPE,
    stderr: Any = subprocess.PIPE,
    prefix: Sequence[str] = (),
) -> Generator[Running]:
    """Start Python with these arguments; where it still runs at the end of the block, kill it.

    Args:
        arguments: ``-c`` and code, or ``-m`` and a module, and what these take.
        cwd: the folder to run in; an empty one by default.
        environment: variables beside those of this process.
        stdout: a file to write to; by default it is kept for the answer.
        stderr: as ``stdout``.
        prefix: a command that runs Python, such as ``ip netns exec``.

    Yields:
        The running process.
    """
    with contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [*prefix, sys.executable, *map(str, arguments)],
            cwd=cwd or stack.enter_context(tempfile.TemporaryDirectory()),
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                **(environment or {}),
            },
            stdout=stdout,
            stderr=stderr,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            yield Running(process)
        finally:
            _end(process)


def num_committed(run: Path | str) -> int:
    """How many shards of a run on this machine are committed, retries not counted."""
    return len(list((Path(run) / "detections").rglob("shard-*.parquet")))


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill a command that a failing test left, with all processes below it."""
    if process.poll() is None:
        for pid in (process.pid, *children_below(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.communicate()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
