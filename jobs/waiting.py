"""Why nothing seems to happen: what lasts for ten seconds is said, and then seldom again.

The second line comes ten seconds after the first, and each pause is twice as long as the one
before, up to ten minutes. Lines go to the log, never into a result.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator

_log = logging.getLogger(__name__)

FIRST_S = 10.0
LONGEST_S = 600.0


def _pauses() -> Iterator[float]:
    return itertools.chain((FIRST_S,), (min(FIRST_S * 2**n, LONGEST_S) for n in itertools.count()))


@contextlib.contextmanager
def waiting(describe: Callable[[], str]) -> Generator[None]:
    """Log what a ``with`` block does where it lasts.

    Args:
        describe: gives the line, with the counts of that moment; called in another thread.
    """
    is_over = threading.Event()

    def remind() -> None:
        for pause_s in _pauses():
            if is_over.wait(pause_s):
                return
            _log.info("%s", describe())

    thread = threading.Thread(target=remind, name="waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class LastingStates:
    """States that come and go, and are looked at now and then; times are those of ``clock``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[str, float] = {}
        self._pauses: dict[str, Iterator[float]] = {}
        self._began: dict[str, float] = {}

    def update(self, states: Collection[str]) -> tuple[list[str], list[str]]:
        """Say which of the present states last for ten seconds, and which of them to mention now.

        A state that is not among ``states`` is over; when it comes back, it begins anew.
        """
        now = self._clock()
        for state in self._began.keys() - set(states):
            del self._began[state], self._due[state], self._pauses[state]
        lasting: list[str] = []
        mentioned: list[str] = []
        for state in states:
            if state not in self._began:
                self._began[state], self._pauses[state] = now, _pauses()
                self._due[state] = now + next(self._pauses[state])
            if now >= self._began[state] + FIRST_S:
                lasting.append(state)
            if now >= self._due[state]:
                self._due[state] = now + next(self._pauses[state])
                mentioned.append(state)
        return lasting, mentioned
