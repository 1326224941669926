"""What a job changes in its own process, and puts back: environment, signals, stdout."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import FrameType

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_was_interrupted = threading.Event()


@contextlib.contextmanager
def terminate_as_interrupt() -> Generator[None]:
    """Let SIGTERM end the job as Ctrl-C does: with a ``KeyboardInterrupt``, and all ``finally``.

    Either is remembered as well: an exception that is raised inside somebody's callback, or while
    Ray starts, may never arrive. ``check_interrupted`` makes up for it.
    """
    _was_interrupted.clear()
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
    """Raise what was raised before and got lost.

    Raises:
        KeyboardInterrupt: the job was told to end.
    """
    if _was_interrupted.is_set():
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    _was_interrupted.set()
    raise KeyboardInterrupt


@contextlib.contextmanager
def environment(settings: Mapping[str, str]) -> Generator[None]:
    """Set what Ray reads, unless the user has, and undo it at the end."""
    missing = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@contextlib.contextmanager
def quiet_stdout() -> Generator[None]:
    """Keep what Ray says about lost workers from stdout, which is for results."""
    with (
        Path(os.devnull).open("w", encoding="utf-8") as nothing,
        contextlib.redirect_stdout(nothing),
    ):
        yield


@contextlib.contextmanager
def kept_signal_handlers() -> Generator[Callable[[], None]]:
    """Keep the caller's handlers of signals, which Ray replaces by its own.

    Yields:
        A function that puts them back at once; they are put back at the end as well.
    """
    handlers = {number: signal.getsignal(number) for number in _INTERRUPTS}

    def restore() -> None:
        with contextlib.suppress(ValueError):  # not in the main thread: Ray replaced nothing
            for number, handler in handlers.items():
                signal.signal(number, handler)

    try:
        yield restore
    finally:
        restore()
