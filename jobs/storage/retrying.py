"""Retries of a failed storage action: exponential backoff with jitter, bounded."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fcos_core.errors import StorageError
from jobs.storage.base import UnreadableError
from jobs.waiting import FIRST_S

_log = logging.getLogger(__name__)

T = TypeVar("T")

_jitter = random.Random()  # noqa: S311 -- it spreads load; no secret depends on it


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often an action is retried, and after which delays.

    Attributes:
        attempts: number of attempts in all, at least one.
        first_delay_s: the longest delay after the first failure; each failure doubles it.
        max_delay_s: the upper limit of all delays.
        on: class of the errors that are retried.
    """

    attempts: int = 5
    first_delay_s: float = 0.2
    max_delay_s: float = 10.0
    on: type[StorageError] = StorageError

    def run(self, action: Callable[[], T]) -> T:
        """Run an action, and again after an error that is retried; the last error is raised.

        Raises:
            UnreadableError: raised at once, since a retry does not help.
        """
        began, is_said = time.monotonic(), False
        for attempt in range(1, self.attempts):
            try:
                return action()
            except UnreadableError:
                raise
            except self.on as error:
                if not is_said and time.monotonic() - began >= FIRST_S:
                    is_said = True
                    _log.info("trying again, %d of %d: %s", attempt + 1, self.attempts, error)
                longest = min(self.max_delay_s, self.first_delay_s * 2 ** (attempt - 1))
                time.sleep(_jitter.uniform(longest / 2, longest))
        return action()
