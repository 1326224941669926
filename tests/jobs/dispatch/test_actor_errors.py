"""Texts of Ray 2.60 for actors that were killed; the tests of dispatch really kill actors."""

from types import SimpleNamespace
from typing import Any

import pytest

from jobs.dispatch.actor_errors import classify_actor_error

HEAD = "The actor died unexpectedly before finishing this task.\n\tclass_name: A\n\tpid: 14672\n"
CRASHED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker "
    "exit detail: Worker unexpectedly exits with a connection error code 2. End of file."
)
GUESSES = " Some common causes include: (1) the process was killed by the OOM killer"
NODE = "The actor died because its node has died. Node Id: 4088"
RAY_KILL = "The actor is dead because it was killed by `ray.kill`."
TERMINATED = (
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker "
    "exit detail: Worker exits with an exit code 1. The process receives a SIGTERM."
)


class UnavailableError(Exception):
    pass


class PreemptedError(Exception):
    preempted = True


RAY: Any = SimpleNamespace(exceptions=SimpleNamespace(ActorUnavailableError=UnavailableError))


@pytest.mark.parametrize(
    ("error", "reason", "is_counted"),
    [
        pytest.param(Exception(HEAD + CRASHED + GUESSES), CRASHED, True, id="crash_or_sigkill"),
        pytest.param(Exception(HEAD + NODE + "\n\tterminated"), NODE, False, id="node_died"),
        pytest.param(Exception(HEAD + RAY_KILL), RAY_KILL, False, id="ray_kill"),
        pytest.param(Exception(HEAD + TERMINATED), TERMINATED, False, id="sigterm"),
        pytest.param(PreemptedError(HEAD + CRASHED), CRASHED, False, id="preempted"),
        pytest.param(UnavailableError("no answer\nmore"), "no answer", False, id="unreachable"),
        pytest.param(Exception(), "Exception", True, id="nothing_said"),
    ],
)
def test_an_actor_that_was_ended_from_outside_does_not_count(
    error: Exception, reason: str, *, is_counted: bool
) -> None:
    failure = classify_actor_error(RAY, error)
    assert (failure.reason, failure.is_counted) == (reason, is_counted)
