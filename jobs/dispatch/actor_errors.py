"""What Ray says of an actor that is lost, and whether the actor had any part in it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# Ray has no types

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

_NOT_ITS_FAULT = ("its node has died", "by `ray.kill`", "receives a SIGTERM")
"""What is said of actors that others ended. Of a process that dies by itself Ray says nothing of
value: a crash, ``os._exit`` and SIGKILL read alike, so a parent of our own looks into that."""

_TELLING = ("The actor is dead", "The actor died because")
_GUESSES = " Some common causes include"


@dataclass(frozen=True)
class Loss:
    """Why an actor is lost.

    Attributes:
        reason: in one line.
        is_counted: whether what it was doing may be to blame; the end of a node never counts.
    """

    reason: str
    is_counted: bool = True


def loss_of(ray: ModuleType, error: Exception) -> Loss:
    """Read an error that Ray gives in place of an answer."""
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(_TELLING)]
    reason = (telling or lines or [type(error).__name__])[0].partition(_GUESSES)[0]
    is_innocent = (
        isinstance(error, ray.exceptions.ActorUnavailableError)  # its node does not answer
        or getattr(error, "preempted", False)
        or any(words in text for words in _NOT_ITS_FAULT)
    )
    return Loss(reason, is_counted=not is_innocent)
