"""The limit of quarantined rows, above which a run fails."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_LIMIT = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<percent>\s*%)?")
_WHOLE = 100


@dataclass(frozen=True)
class MaxBad:
    """A limit of quarantined rows: their number, or a percentage of the planned rows."""

    limit: float
    is_percentage: bool

    @classmethod
    def parse(cls, text: str) -> MaxBad:
        """Read the text that a user wrote.

        Raises:
            ValueError: the text is neither a count nor a percentage.
        """
        match = _LIMIT.fullmatch(text.strip())
        if match is None:
            raise ValueError("must be a count such as 10, or a percentage such as 0.5%")
        limit, is_percentage = float(match["number"]), match["percent"] is not None
        if is_percentage and limit > _WHOLE:
            raise ValueError("must be at most 100%")
        if not is_percentage and not limit.is_integer():
            raise ValueError("must be a whole count, or end in %")
        return cls(limit, is_percentage)

    def num_rows(self, num_planned: int) -> int:
        """Return how many of the planned rows may be quarantined."""
        if self.is_percentage:
            return math.floor(num_planned * self.limit / _WHOLE)
        return int(self.limit)
