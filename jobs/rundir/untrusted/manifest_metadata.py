"""Whether a manifest's metadata is possible, and whether ``run.json`` says the same.

The manifest has a seal of its own and says which version of the project began the run. So a
``run.json`` whose seal was left out is told from one of a version that wrote none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from jobs.rundir.fingerprint import fingerprint

_UNSEALED_VERSIONS = {"0.1.0"}
"""The versions of the project that wrote some ``run.json`` without a seal."""

_LONGEST_NUMBER = 19


def require_possible_metadata(metadata: Mapping[str, str]) -> None:
    """Refuse metadata that no planner can have written.

    Raises:
        ValueError: the run has no id, a number is none, or the fingerprint is of other fields.
    """
    for name in ("run_id", "fingerprint"):
        if not metadata.get(name):
            raise ValueError(f"its metadata lacks {name}")
    skipped = metadata.get("skipped", "0")
    if not (skipped.isascii() and skipped.isdigit() and len(skipped) < _LONGEST_NUMBER):
        raise ValueError(f"skipped {skipped!r:.60}, must be a number")
    annotations = _parsed(metadata, "annotations")
    if not isinstance(annotations, str | None):
        raise ValueError(f"annotations {annotations!r:.60}, must be a uri or null")  # noqa: TRY004
    fields = fields_of(metadata)
    if fields is not None and fingerprint(fields) != metadata["fingerprint"]:
        raise ValueError("its fingerprint is not that of its fingerprint_fields")


def fields_of(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    """Read the settings that the fingerprint is made of; None where the manifest lacks them.

    Raises:
        ValueError: they are no JSON object.
    """
    fields = _parsed(metadata, "fingerprint_fields")
    if fields is not None and not isinstance(fields, dict):
        raise ValueError("its fingerprint_fields are no object")
    return cast("dict[str, Any] | None", fields)


def needs_sealed_record(metadata: Mapping[str, str]) -> bool:
    """Say whether the run was begun by a version that seals every ``run.json``."""
    fields = fields_of(metadata) or {}
    return fields.get("project_version") not in _UNSEALED_VERSIONS


def difference(record: Mapping[str, Any], metadata: Mapping[str, str]) -> str | None:
    """Say how ``run.json`` and the manifest differ in what both have; None where they agree.

    ``record`` is the document of ``run.json``.
    """
    if record["run_id"] != metadata["run_id"]:
        return f"foreign: it is of run {record['run_id']}, the manifest of run {metadata['run_id']}"
    fields = fields_of(metadata)
    pairs: list[tuple[str, object, object]] = [
        ("fingerprint", record["fingerprint"], metadata["fingerprint"])
    ]
    if fields is not None:
        pairs.append(("fingerprint_fields", record["fingerprint_fields"], fields))
        pairs += [(name, record[name], fields.get(name)) for name in ("weights_sha256", "preset")]
        pairs += [
            (f"settings.{name}", value, fields[name])
            for name, value in record["settings"].items()
            if name in fields
        ]
    for name, value, planned in pairs:
        if value != planned:
            return f"its {name} {value!r:.80} differs from the manifest's, {planned!r:.80}"
    return None


def _parsed(metadata: Mapping[str, str], name: str) -> object:
    try:
        return json.loads(metadata.get(name, "null"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its {name} cannot be read as JSON: {error}") from error
