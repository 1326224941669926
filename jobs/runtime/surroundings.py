"""What a job changes in its own process, and puts back: environment, signals, stdout."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import FrameType


@contextlib.contextmanager
def terminate_as_interrupt() -> Generator[None]:
    """Let SIGTERM end the job as Ctrl-C does: with a ``KeyboardInterrupt``, and all ``finally``."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
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
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        with contextlib.suppress(ValueError):  # not in the main thread: Ray replaced nothing
            for number, handler in handlers.items():
                signal.signal(number, handler)

    try:
        yield restore
    finally:
        restore()
