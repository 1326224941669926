"""A limit of virtual memory (``ulimit -v``, as some schedulers set it), and lack of memory.

Programs map far more than they use: libraries of some GB, the stack of each thread, Ray's shared
store. Where a limit refuses that, libraries crash, hang, or end a process without a word.
"""

from __future__ import annotations

import errno
import resource

from fcos_core.errors import ConfigError

RAY_BYTES = 8 << 30
"""The least limit under which Ray is started.

On two cores ``fcos detect`` maps 6.0 GiB; under a limit of 5.7 GiB it crashes or hangs.
"""

MODEL_BYTES = 9 << 29
"""The least limit under which a model is loaded: 4.8 GiB are enough, with 3.8 GiB torch hangs."""

_SUSPECT_BYTES = 64 << 30  # a crash under a larger limit hardly comes from it
_GIB = 1 << 30
_TEXTS = (
    *("allocate memory", "failed to map segment", "not enough memory", "out of memory"),
    *("can't start new thread", "Resource temporarily unavailable"),
)
"""What the messages of libraries say that get no memory."""


def limit_bytes() -> int | None:
    """Return the limit of this process's virtual memory; None where there is none."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def require_for_ray() -> None:
    """Refuse to start Ray where it would crash or hang; a ``ConfigError`` names the limit."""
    _require(RAY_BYTES, "Ray cannot be started")


def require_for_model() -> None:
    """Refuse to load a model where that would crash or hang; a ``ConfigError`` names the limit."""
    _require(MODEL_BYTES, "no model can be loaded")


def suspect() -> str | None:
    """Say what to do about a limit that may be why a command crashed; None where none may."""
    limit = limit_bytes()
    return None if limit is None or limit > _SUSPECT_BYTES else _remedy(limit)


def lack_of_memory(error: BaseException) -> str | None:
    """Say in one line that memory was lacking, if an error or its cause says so."""
    cause: BaseException | None = error
    while cause is not None:
        text = " ".join(str(cause).split())
        # Without a limit, such words may have another reason, and the traceback tells it.
        is_told = limit_bytes() is not None and any(words in text for words in _TEXTS)
        is_refused = isinstance(cause, OSError) and cause.errno == errno.ENOMEM
        if isinstance(cause, MemoryError) or is_refused or is_told:
            remedy = suspect()
            reason = text or type(cause).__name__
            return f"out of memory ({reason})" + ("" if remedy is None else f": {remedy}")
        cause = cause.__cause__ or cause.__context__
    return None


def _require(least_bytes: int, what: str) -> None:
    limit = limit_bytes()
    if limit is not None and limit < least_bytes:
        raise ConfigError(f"{what}: {_remedy(limit)}")


def _remedy(limit: int) -> str:
    return (
        f"virtual memory is limited to {limit / _GIB:.1f} GiB (ulimit -v); set it to unlimited, or "
        f"to {RAY_BYTES / _GIB:.0f} GiB or more"
    )
