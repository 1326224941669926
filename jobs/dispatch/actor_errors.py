"""Why an actor failed, read from Ray's error, and whether that counts against its shards."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

_ENDED_FROM_OUTSIDE = ("its node has died", "by `ray.kill`", "receives a SIGTERM")
"""In Ray's texts on actors that something else ended. Ray does not tell apart the ways in which a
process dies by itself (a crash, ``os._exit``, SIGKILL); ``PoisonSearch`` does, with child
processes."""

_REASON_STARTS = ("The actor is dead", "The actor died because")
_GUESSES = " Some common causes include"


@dataclass(frozen=True)
class ActorFailure:
    """Why an actor failed, in one line.

    ``is_counted`` says whether the actor's shards may be the cause, so that the failure counts as
    an attempt at each of them. The end of a node never counts.
    """

    reason: str
    is_counted: bool = True


def classify_actor_error(ray: ModuleType, error: Exception) -> ActorFailure:
    """Read the error that Ray raises in place of an actor's result."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith(_REASON_STARTS)]
    reason = (reasons or lines or [type(error).__name__])[0].partition(_GUESSES)[0]
    is_from_outside = (
        isinstance(error, ray.exceptions.ActorUnavailableError)  # its node does not answer
        or getattr(error, "preempted", False)
        or any(words in text for words in _ENDED_FROM_OUTSIDE)
    )
    return ActorFailure(reason, is_counted=not is_from_outside)
