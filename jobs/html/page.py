"""Puts the sections into one HTML file that needs nothing else and lets nothing else in.

Everything is escaped by the template engine. A content security policy allows this page's own
style and script, by their hashes, and images that are part of it; so even a mistake in escaping
could load and run nothing.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobs.html import formats
from jobs.html.section import Section

MAX_BYTES = 5_000_000
"""Of the page, whatever the size of the run."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What is on the page.

    Attributes:
        title: name of the run.
        subtitle: what was run on what, in a line.
        state: how complete the run is, in a few words.
        is_complete: whether it is.
        sections: in reading order.
        version: of this project.
    """

    title: str
    subtitle: str
    state: str
    is_complete: bool
    sections: Sequence[Section]
    version: str


def render(page: Page) -> bytes:
    """Write the page as a file."""
    environment = _environment()
    style, script = (_source(environment, name) for name in ("style.css", "script.js"))
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    text = environment.get_template("page.html").render(
        page=page, style=style, script=script, policy=policy
    )
    return text.encode(errors="backslashreplace")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("jobs.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = cast("dict[str, Any]", environment.filters)  # whose type names Jinja's own only
    filters["count"] = formats.count  # Jinja's own is the length of a list
    filters["counted"] = formats.counted
    filters["data_uri"] = _data_uri
    return environment


def _source(environment: Environment, name: str) -> Markup:
    """Our own style or script, which goes into the page as it is."""
    assert environment.loader is not None
    text, _, _ = environment.loader.get_source(environment, name)
    assert "</" not in text, f"{name} would end its element"
    return Markup(text)  # noqa: S704 (a file of this package)


def _data_uri(jpeg: bytes) -> str:
    """An image as an address that needs no file."""
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"


def _hash(source: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
