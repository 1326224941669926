"""The run directory: where each file lies, the manifest, ``run.json`` and the list of shards."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, NoReturn, cast

import numpy as np
import pyarrow as pa
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from fcos_core.errors import ConfigError, one_line
from jobs.rundir.rows import ManifestItem, table_to_items
from jobs.rundir.schemas import MANIFEST, SCHEMA_VERSION, shard_name, shard_number
from jobs.rundir.sealed_parquet import ColumnEncoding, encode_sealed, metadata_of, open_sealed
from jobs.rundir.untrusted.item_values import (
    most_items,
    num_planned_rows,
    possible_items,
    table_of_items,
)
from jobs.rundir.untrusted.manifest_metadata import (
    difference,
    needs_sealed_record,
    require_possible_metadata,
)
from jobs.rundir.untrusted.parquet_file import UntrustedFile
from jobs.rundir.untrusted.validation_error import first_problem
from jobs.storage import ObjectInfo, absolute, join, storage_for

_log = logging.getLogger(__name__)

_MANIFEST_ENCODING = ColumnEncoding(
    dictionary=("kind", "width", "height", "stream", "time_base_num", "time_base_den", "sampling"),
    delta=("item_id", "shard", "image_id"),
)

INPUT_SIZE = ("min_size_px", "max_size_px")
"""Settings of ``run.json`` that give the size of the network's input; old runs lack them."""

_LARGEST_PX = 2**31 - 1

_RECORD_SEAL = "sha256"
"""The key in ``run.json`` with the sha256 of all others; runs of version 0.1.0 may lack it."""

_MADE_AGAIN = "the command that began the run makes it again"
_REMEDY = f"delete it, and {_MADE_AGAIN}"


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


@dataclass(frozen=True, kw_only=True)
class ShardListing:
    """The files in the folders of shards.

    Attributes:
        shards: number and object of each committed shard, by number.
        retries: number and uri of each retry of a shard's quarantined items, oldest first, by
            shard.
        foreign: uris of files whose name is no shard's.
        leftovers: uris of hidden files, which killed writers or the file system left.
    """

    shards: tuple[tuple[int, ObjectInfo], ...]
    retries: Mapping[int, Sequence[tuple[int, str]]]
    foreign: tuple[str, ...]
    leftovers: tuple[str, ...]


@dataclass(frozen=True)
class RunDirectory:
    """One run, by the uri of its directory; nothing is read or made before a method is called."""

    uri: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "uri", absolute(self.uri))

    @property
    def manifest_uri(self) -> str:
        return join(self.uri, "manifest.parquet")

    @property
    def run_uri(self) -> str:
        return join(self.uri, "run.json")

    def shard_uri(self, shard: int, attempt: int | None = None) -> str:
        """Name a shard's file, or the file of a retry of its quarantined items."""
        folder = "detections" if attempt is None else f"retries/{attempt}"
        return join(self.uri, folder, shard_name(shard))

    def evaluation_uri(self, name: str) -> str:
        return join(self.uri, "evaluation", name)

    def bpr_uri(self, name: str) -> str:
        return join(self.uri, "bpr", name)

    def event_uri(self, name: str) -> str:
        """Name a file of timings and devices, which is no part of the result."""
        return join(self.uri, "events", name)

    def exists(self) -> bool:
        """Say whether a run was begun here, that is, whether there is a manifest."""
        return storage_for(self.uri).stat(self.manifest_uri) is not None

    def create_manifest(self, items: pa.Table, metadata: Mapping[str, str]) -> bool:
        """Write the manifest unless there is one.

        Args:
            items: a ``MANIFEST`` table: item_id from 0 by one, shard never falling.
            metadata: at least ``run_id`` and ``fingerprint``, so that a run whose driver was killed
                before it wrote ``run.json`` can be resumed.

        Returns:
            True when this call created it; False when another driver did, whose manifest counts.
        """
        assert items.schema.equals(MANIFEST)
        assert metadata.keys() >= {"run_id", "fingerprint"}
        assert np.array_equal(items.column("item_id").to_numpy(), np.arange(items.num_rows))
        assert np.all(np.diff(items.column("shard").to_numpy()) >= 0)
        metadata = {**metadata, "schema_version": str(SCHEMA_VERSION)}
        data = encode_sealed(items, metadata, _MANIFEST_ENCODING)
        return storage_for(self.uri).create(self.manifest_uri, data)

    def read_manifest(self) -> list[ManifestItem]:
        return [item for _, items in self.iterate_manifest() for item in items]

    def read_manifest_table(self) -> pa.Table:
        """Read all items as a table.

        Raises:
            ConfigError: there is no manifest, or it is damaged, or unpacks to too much.
        """
        info = storage_for(self.uri).stat(self.manifest_uri)
        try:
            return table_of_items(self._items(), 0 if info is None else info.size_bytes)
        except ValueError as error:
            raise ConfigError(f"{self.manifest_uri!r} is damaged: {error}") from error

    def count_planned_rows(self) -> dict[int, int]:
        """Count the images and frames that the manifest plans for each shard."""
        planned: Counter[int] = Counter()
        for batch in self._items():
            shards = batch.column("shard").to_numpy()
            numbers, places = np.unique(shards, return_inverse=True)
            rows = np.bincount(places, num_planned_rows(batch)).astype(np.int64)
            planned.update(dict(zip(numbers.tolist(), rows.tolist(), strict=True)))
        return planned

    def read_manifest_metadata(self) -> dict[str, str]:
        """Read the key-value metadata of the manifest, ``run_id`` and ``fingerprint`` among it.

        Raises:
            ConfigError: there is no manifest, or it is damaged.
        """
        metadata = metadata_of(self._open_manifest())
        try:
            require_possible_metadata(metadata)
        except ValueError as error:
            raise ConfigError(f"{self.manifest_uri!r} is damaged: {one_line(error)}") from error
        return metadata

    def iterate_manifest(self) -> Iterator[tuple[int, list[ManifestItem]]]:
        """Read the items shard by shard, in manifest order, few at a time.

        Yields:
            A shard's number and its items.
        """
        items = (
            item
            for batch in self._items()
            for item in table_to_items(pa.Table.from_batches([batch]))
        )
        for shard, group in itertools.groupby(items, key=lambda item: item.shard):
            yield shard, list(group)

    def _items(self) -> Iterator[pa.RecordBatch]:
        file = self._open_manifest()
        try:
            yield from possible_items(file.iter_batches())
        except (ValueError, pa.ArrowException) as error:
            raise ConfigError(f"{self.manifest_uri!r} is damaged: {one_line(error)}") from error

    def _open_manifest(self) -> UntrustedFile:
        if not self.exists():
            raise ConfigError(f"{self.uri!r} is no run directory: there is no manifest.parquet")
        data = storage_for(self.uri).read(self.manifest_uri)
        try:
            file = open_sealed(data, max_rows=most_items(len(data)), is_streamed=True)
        except ValueError as error:
            raise ConfigError(f"{self.manifest_uri!r} is damaged: {error}") from error
        version = metadata_of(file).get("schema_version")
        if version != str(SCHEMA_VERSION) or not file.schema.equals(MANIFEST):
            raise ConfigError(
                f"{self.manifest_uri!r} has other columns, or tables of version {version}"
            )
        return file

    def create_run_record(self, record: RunRecord) -> bool:
        """Write ``run.json`` unless there is one; say whether this call created it."""
        document = record.model_dump(mode="json")
        document[_RECORD_SEAL] = _record_sha256(document)
        data = json.dumps(document, indent=2) + "\n"
        return storage_for(self.uri).create(self.run_uri, data.encode())

    def read_run_record(self) -> RunRecord:
        """Read ``run.json``, which must agree with the manifest where there is one.

        Raises:
            ConfigError: it is missing, damaged, of another run, or of another version of the
                tables; or the manifest is damaged.
        """
        storage = storage_for(self.uri)
        if storage.stat(self.run_uri) is None:
            if not self.exists():
                raise ConfigError(f"{self.uri!r} is no run directory: there is no run.json")
            raise ConfigError(f"{self.run_uri!r} is missing; {_MADE_AGAIN}")
        manifest = self.read_manifest_metadata() if self.exists() else None
        is_new = manifest is None or needs_sealed_record(manifest)
        try:
            record, is_sealed = _parse_record(storage.read(self.run_uri), needs_seal=is_new)
        except ValueError as error:
            reason = f"{one_line(error)}; {_REMEDY}"
            raise ConfigError(f"{self.run_uri!r} is damaged: {reason}") from error
        if not is_sealed:
            _warn_of_no_seal(self.run_uri)
        if record.schema_version != SCHEMA_VERSION:
            raise ConfigError(
                f"{self.run_uri!r} has tables of version {record.schema_version}, "
                f"this is {SCHEMA_VERSION}"
            )
        if manifest is not None:
            unlike = difference(record.model_dump(mode="json"), manifest)
            if unlike is not None:
                raise ConfigError(f"{self.run_uri!r}: {unlike}; {_REMEDY}")
        return record

    def list_shards(self) -> ShardListing:
        """List the committed shards, their retries, and all other files beside them."""
        storage = storage_for(self.uri)
        shards: list[tuple[int, ObjectInfo]] = []
        retries: dict[int, list[tuple[int, str]]] = {}
        foreign: list[str] = []
        leftovers: list[str] = []
        for folder in ("detections", "retries"):
            root = join(self.uri, folder)
            for info in storage.list(root):
                *above, name = info.uri.removeprefix(f"{root}/").split("/")
                number = shard_number(name)
                if name.startswith("."):
                    leftovers.append(info.uri)
                elif number is not None and folder == "detections" and not above:
                    shards.append((number, info))
                elif number is not None and folder == "retries" and _is_retry_number(above):
                    retries.setdefault(number, []).append((int(above[0]), info.uri))
                else:
                    foreign.append(info.uri)
        return ShardListing(
            shards=tuple(sorted(shards, key=lambda shard: shard[0])),
            retries={shard: sorted(attempts) for shard, attempts in sorted(retries.items())},
            foreign=tuple(foreign),
            leftovers=tuple(leftovers),
        )


@cache
def _warn_of_no_seal(uri: str) -> None:
    _log.warning("%s has no seal: an older version began the run; nothing tells its changes", uri)


def _parse_record(data: bytes, *, needs_seal: bool) -> tuple[RunRecord, bool]:
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


def _is_retry_number(folders: Sequence[str]) -> bool:
    return len(folders) == 1 and folders[0].isascii() and folders[0].isdigit()
