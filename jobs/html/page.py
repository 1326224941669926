"""Renders sections into one HTML file that loads nothing.

The template engine escapes everything, and no control character gets into a page. A content
security policy allows only the page's own style and script, by their hashes, and images that are
part of the page; so even a mistake in escaping could neither load nor run anything.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import jobs
from jobs.html import formats
from jobs.html.section import Section


@dataclass(frozen=True, kw_only=True)
class Page:
    """Header and sections of a page.

    ``kind`` stands above the title, such as ``Detection report``; the state is green if
    ``is_good``, else red. ``templates/sections`` of ``package`` has a template for each section.
    """

    kind: str
    title: str
    subtitle: str
    state: str
    is_good: bool
    sections: Sequence[Section]
    package: str


def render(page: Page) -> bytes:
    """Return the page as the bytes of an HTML file."""
    environment = _environment(page.package)
    style, script = (_source(environment, name) for name in ("style.css", "script.js"))
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    text = environment.get_template("page.html").render(
        page=page,
        style=style,
        script=script,
        policy=policy,
        version=jobs.__version__,
    )
    return text.encode(errors="backslashreplace")


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("jobs.html"), PackageLoader(package)]),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = cast("dict[str, Any]", environment.filters)  # whose type names Jinja's own only
    filters["count"] = formats.count  # Jinja's own is the length of a list
    filters["counted"] = formats.counted
    filters["data_uri"] = _data_uri
    return environment


def _visible(value: object) -> object:
    """Prepare every value that goes into a page, but not what is HTML already."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return formats.visible(value)
    return value


def _source(environment: Environment, name: str) -> Markup:
    """Read the kit's own style or script, which goes into the page without escaping."""
    assert environment.loader is not None
    text, _, _ = environment.loader.get_source(environment, name)
    assert "</" not in text, f"{name} would end its element"
    return Markup(text)  # noqa: S704 (a file of this package)


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"


def _hash(source: str) -> str:
    return f"sha256-{b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
