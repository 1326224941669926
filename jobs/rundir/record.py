"""``run.json``: how a run is done, sealed, and checked against the manifest."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, NoReturn, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from jobs.rundir.schemas import SCHEMA_VERSION
from jobs.rundir.untrusted.validation_error import first_problem

_log = logging.getLogger(__name__)

INPUT_SIZE = ("min_size_px", "max_size_px")
"""Settings of ``run.json`` that give the size of the network's input; old runs lack them."""

_LARGEST_PX = 2**31 - 1

_RECORD_SEAL = "sha256"
"""The key in ``run.json`` with the sha256 of all others; runs of version 0.1.0 may lack it."""


def _require_utf8(text: str) -> str:
    text.encode()
    return text


_Text = Annotated[str, AfterValidator(_require_utf8)]


class Category(BaseModel):
    """A category as COCO names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int = Field(strict=True, ge=-(2**31), lt=2**31)
    name: _Text


class RunRecord(BaseModel):
    """The content of ``run.json``: how the run is done. Written once, after the manifest.

    Attributes:
        schema_version: of the tables.
        run_id: the id in the manifest's metadata and in every shard's footer.
        fingerprint: sha256 of ``fingerprint_fields``, in hex.
        fingerprint_fields: the settings that a resumed run must repeat.
        config: the resolved settings.
        versions: of Python, the project and its libraries, by name.
        weights_sha256: of the checkpoint's file, in hex.
        preset: name of the FCOS variant.
        categories: by label.
        device: kind and model of the device.
        settings: the settings that were chosen once and decide the digest (batch size, threads per
            actor and others), and ``INPUT_SIZE``, which the checkpoint decides.
        created_at: when the run began.
        input_annotations: absolute uri of the COCO file when the input was one COCO file, otherwise
            None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    run_id: str = Field(min_length=1)
    fingerprint: str
    fingerprint_fields: dict[str, Any]
    config: dict[str, Any]
    versions: dict[_Text, _Text]
    weights_sha256: _Text
    preset: _Text
    categories: tuple[Category, ...]
    device: _Text
    settings: dict[str, Any] = Field(default_factory=dict)
    created_at: AwareDatetime
    input_annotations: str | None = None

    @field_validator("categories")
    @classmethod
    def _has_each_id_once(cls, categories: tuple[Category, ...]) -> tuple[Category, ...]:
        if len({category.id for category in categories}) < len(categories):
            raise ValueError("a category id is there twice")
        return categories

    @field_validator("settings")
    @classmethod
    def _has_sizes(cls, settings: dict[str, Any]) -> dict[str, Any]:
        for name in INPUT_SIZE:
            size = settings.get(name, 1)
            if type(size) is not int or not 1 <= size <= _LARGEST_PX:
                raise ValueError(f"{name} {size!r:.40}, must be from 1 to {_LARGEST_PX}")
        return settings

    @property
    def input_size(self) -> dict[str, int]:
        """The size of the network's input, by ``INPUT_SIZE``; empty where it is unknown."""
        return {name: self.settings[name] for name in INPUT_SIZE if name in self.settings}


@cache
def warn_of_no_seal(uri: str) -> None:
    """Warn once that a ``run.json`` has no seal."""
    _log.warning("%s has no seal: an older version began the run; nothing tells its changes", uri)


def encode_record(record: RunRecord) -> bytes:
    """Write the document of ``run.json``, with its seal."""
    document = record.model_dump(mode="json")
    document[_RECORD_SEAL] = _record_sha256(document)
    return f"{json.dumps(document, indent=2)}\n".encode()


def parse_record(data: bytes, *, needs_seal: bool) -> tuple[RunRecord, bool]:
    """Read the document of ``run.json``, and whether it has a seal, which is then right.

    Raises:
        ValueError: it is damaged, or lacks the seal that it needs.
    """
    try:
        document: object = json.loads(data, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError(f"it is a {type(document).__name__}, must be an object")  # noqa: TRY004
    fields = cast("dict[str, Any]", document)
    seal = fields.pop(_RECORD_SEAL, None)
    try:
        record = RunRecord.model_validate(fields)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error
    if seal is not None and seal != _record_sha256(fields):
        raise ValueError("its content has changed since it was written: the sha256 differs")
    if seal is None and needs_seal:
        raise ValueError(f"it has no seal: the key {_RECORD_SEAL!r} is missing")
    return record, seal is not None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _record_sha256(fields: Mapping[str, Any]) -> str:
    """Digest the fields, independent of the layout of the JSON."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
