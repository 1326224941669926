"""Runs ``fcos`` in this process, and says whether it answered as it must."""

import contextlib
import io
import json
import signal
from collections.abc import Generator
from types import FrameType

from jobs.cli.commands import main
from tests.commands import CANNOT_WORK, DONE, INCOMPLETE, Answer

_DEADLINE_S = 300
_LONGEST_LINE = 4100


def fcos(*arguments: object) -> Answer:
    """Run a command; an exception that leaves it is a bug, and fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _deadline():
        code = main([str(argument) for argument in arguments])
    return Answer(code, out.getvalue(), err.getvalue())


def require_sound(answer: Answer) -> None:
    """Require one of the codes for bad input, with one printable line that says why."""
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
    """Make a hang a failure, wherever the command hangs."""

    def expire(_: int, frame: FrameType | None) -> None:
        raise AssertionError(f"no answer within {_DEADLINE_S} s; now in {frame}")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(_DEADLINE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
