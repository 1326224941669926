"""What every part of the page is: a title, what it says, or why it says nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page, drawn by the template of its name.

    Attributes:
        name: of the template, and where links of the page lead.
        title: its heading.
        lead: what it shows, in a sentence or two.
        data: what its template draws, by name.
        absent: why there is nothing to show, in one sentence; None when there is.
    """

    name: str
    title: str
    lead: str = ""
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    absent: str | None = None
