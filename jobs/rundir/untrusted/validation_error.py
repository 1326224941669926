"""What is wrong in a JSON document that its model refuses, in a few words."""

from __future__ import annotations

from pydantic import ValidationError


def first_problem(error: ValidationError) -> str:
    """Name the first field that is refused, and why."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "the whole"
    if first["type"] == "extra_forbidden":
        return f"unknown key {place!r}"
    return f"{place}: {first['msg']}"
