"""How many images of a run may be unusable: ``--max-bad``, a count or a percentage."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_BUDGET = re.compile(r"(?P<number>\d+(\.\d+)?)(?P<percent>\s*%)?")
_WHOLE = 100


@dataclass(frozen=True)
class BadBudget:
    """A limit of quarantined rows.

    Attributes:
        limit: rows, or percent of the planned rows.
        is_percentage: which of the two.
    """

    limit: float
    is_percentage: bool

    @classmethod
    def parse(cls, text: str) -> BadBudget:
        """Read what a user wrote.

        Raises:
            ValueError: it is neither a count nor a percentage.
        """
        match = _BUDGET.fullmatch(text.strip())
        if match is None:
            raise ValueError("must be a count such as 10, or a percentage such as 0.5%")
        limit, is_percentage = float(match["number"]), match["percent"] is not None
        if is_percentage and limit > _WHOLE:
            raise ValueError("must be at most 100%")
        if not is_percentage and not limit.is_integer():
            raise ValueError("must be a whole count, or end in %")
        return cls(limit, is_percentage)

    def rows(self, planned: int) -> int:
        """Say how many rows may be quarantined of so many."""
        return math.floor(planned * self.limit / _WHOLE) if self.is_percentage else int(self.limit)
