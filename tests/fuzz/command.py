"""Runs ``fcos`` in this process, and says whether it answered as it must."""

import contextlib
import io
import json
import signal
from collections.abc import Generator
from dataclasses import dataclass
from types import FrameType

from jobs.cli.commands import main

DONE, CANNOT_WORK, INCOMPLETE = 0, 2, 3

_DEADLINE_S = 300
_LONGEST_LINE = 4100


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """The line that says why the command failed; empty when it did not."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == (self.code != DONE), f"exit code {self.code}: {self.stderr}"
        return lines[0].removeprefix("error: ") if lines else ""


def fcos(*arguments: object) -> Answer:
    """Give a command; any exception but its own exit is a bug, and the test's failure."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _deadline():
        code = main([str(argument) for argument in arguments])
    return Answer(code, out.getvalue(), err.getvalue())


def require_sound(answer: Answer) -> None:
    """Insist on one of the codes for bad input, with one printable line that says why."""
    assert answer.code in {DONE, CANNOT_WORK, INCOMPLETE}, answer
    error = answer.error
    assert error.isprintable(), repr(error)
    assert "Traceback" not in answer.stderr
    if answer.code == DONE:
        json.loads(answer.stdout.splitlines()[-1])
    else:
        assert error, answer
        assert len(error) < _LONGEST_LINE, error


@contextlib.contextmanager
def _deadline() -> Generator[None]:
    """Make a hang a failure, whatever it hangs in."""

    def expire(_: int, frame: FrameType | None) -> None:
        raise AssertionError(f"no answer within {_DEADLINE_S} s; now in {frame}")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(_DEADLINE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
