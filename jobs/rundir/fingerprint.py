"""The settings that a resumed run must repeat, as one sha256, and the difference in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeGuard, cast

_ABSENT = "absent"
_NOTHING = "null"


def fingerprint(fields: Mapping[str, Any]) -> str:
    """Digest settings independent of their order: the sha256 of their canonical JSON, in hex.

    JSON must hold the values: NaN and infinity raise ``ValueError``.
    """
    return hashlib.sha256(_canonical(fields).encode()).hexdigest()


def explain_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in one line which fields differ, with both values; empty when none does.

    A field that one side does not have is null there: an older version did not know it.
    """
    before, after = _flatten(old), _flatten(new)
    names = sorted(before.keys() | after.keys())
    return "; ".join(
        f"{name}: {before.get(name, _ABSENT)} in the run, {after.get(name, _ABSENT)} now"
        for name in names
        if before.get(name, _NOTHING) != after.get(name, _NOTHING)
    )


def _flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Name nested settings ``outer.inner``; a value is its JSON, as the fingerprint sees it."""
    flat: dict[str, str] = {}
    for name, value in fields.items():
        if _is_nested(value):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = _canonical(value)
    return flat


def _is_nested(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and bool(cast("dict[str, Any]", value))


def _canonical(value: object) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
