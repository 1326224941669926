"""A range of shards that one command computes, so that several fill one run."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"(?P<first>\d{1,9})(?:\s*-\s*(?P<last>\d{1,9}))?")


@dataclass(frozen=True)
class ShardRange:
    """Shards by number, both ends included."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> ShardRange:
        """Read the text that a user wrote: ``0-9999`` or ``7``.

        Raises:
            ValueError: it is neither, or ends before it begins.
        """
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            raise ValueError("must be two numbers of shards such as 0-9999, or one")
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if last < first:
            raise ValueError(f"ends before it begins: {first}-{last}")
        return cls(first, last)

    def __str__(self) -> str:
        """Spell the range as an option takes it."""
        return f"{self.first}-{self.last}"
