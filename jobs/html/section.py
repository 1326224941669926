"""A part of the page: a title with its content, or with the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page, drawn by the template of its name.

    Attributes:
        name: name of the template, and anchor of links within the page.
        title: heading.
        lead: what the section shows, in a sentence or two.
        data: values for the template, by name.
        absent: why there is nothing to show, in one sentence; None when there is something.
    """

    name: str
    title: str
    lead: str = ""
    data: dict[str, Any] = field(default_factory=dict[str, Any])
    absent: str | None = None
