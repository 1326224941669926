"""Signal handlers, environment and stdout of this process: changed for a job, then restored."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import FrameType

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_SAME_SIGNAL_S = 1.0
_was_interrupted = threading.Event()
_last_came: dict[int, float] = {}


@contextlib.contextmanager
def terminate_as_interrupt() -> Generator[None]:
    """Let SIGTERM end the job as Ctrl-C does: by a ``KeyboardInterrupt``, so ``finally`` runs.

    A library may swallow this exception, inside a callback or while Ray starts. So the signal is
    also remembered, and ``check_interrupted`` raises the exception again.

    What is sent to a whole group of processes arrives here twice: once directly, and once passed on
    by the guard. The second one, within a second, would interrupt ``finally``, and is dropped.
    """
    _was_interrupted.clear()
    _last_came.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in _INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_interrupted() -> None:
    """Raise ``KeyboardInterrupt`` if a signal came, even if a library swallowed the exception.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came.
    """
    if _was_interrupted.is_set():
        raise KeyboardInterrupt


def _interrupt(number: int, _frame: FrameType | None) -> None:
    now = time.monotonic()
    last, _last_came[number] = _last_came.get(number, float("-inf")), now
    if now - last > _SAME_SIGNAL_S:
        _was_interrupted.set()
        raise KeyboardInterrupt


@contextlib.contextmanager
def environment(settings: Mapping[str, str]) -> Generator[None]:
    """Set variables that the user has not set, and unset them at the end."""
    missing = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@contextlib.contextmanager
def quiet_stdout() -> Generator[None]:
    """Drop what Ray prints about failed workers: stdout is for results."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nothing,
        contextlib.redirect_stdout(nothing),
    ):
        yield


@contextlib.contextmanager
def kept_signal_handlers() -> Generator[None]:
    """Restore the signal handlers at the end; Ray replaces them while it starts."""
    handlers = {number: signal.getsignal(number) for number in _INTERRUPTS}
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread; Ray replaced none
            for number, handler in handlers.items():
                signal.signal(number, handler)
