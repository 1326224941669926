"""A section of the page: its title and content, or the reason why it has none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section of the page, drawn by the template of its name.

    Attributes:
        name: name of the template, and the target of links.
        title: the heading.
        lead: what the section shows, in a sentence or two.
        data: the values that the template draws, by name.
        absent: why the section has no content, in one sentence; None if it has content.
    """

    name: str
    title: str
    lead: str = ""
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    absent: str | None = None
