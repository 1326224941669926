"""Another try at what storage could not do just now: exponential backoff with jitter, bounded."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from fcos_core.errors import StorageError
from jobs.storage.base import UnreadableError

T = TypeVar("T")

_jitter = random.Random()  # noqa: S311 -- spreads load, guards nothing


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently to try again.

    Attributes:
        attempts: tries in all, at least one.
        first_delay_s: the longest wait after the first failure; it doubles with each further one.
        max_delay_s: the longest any wait gets.
        on: the errors that another try may heal.
    """

    attempts: int = 5
    first_delay_s: float = 0.2
    max_delay_s: float = 10.0
    on: type[StorageError] = StorageError

    def run(self, action: Callable[[], T]) -> T:
        """Do something, again when it fails in the way we wait for; the last try passes it on.

        Raises:
            UnreadableError: at once, since no other try helps.
        """
        for attempt in range(1, self.attempts):
            try:
                return action()
            except UnreadableError:
                raise
            except self.on:
                longest = min(self.max_delay_s, self.first_delay_s * 2 ** (attempt - 1))
                time.sleep(_jitter.uniform(longest / 2, longest))
        return action()
