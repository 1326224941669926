"""Writes a manifest: the parts first, then the index, whose creation begins or extends the run."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pyarrow as pa

from fcos_core.errors import ConfigError, FcosError
from jobs.rundir.manifest.index import (
    Growth,
    Index,
    index_name,
    is_part_name,
    part_name,
    superseded_name,
)
from jobs.rundir.manifest.manifest import FOLDER, Manifest
from jobs.rundir.manifest.part import Part, describe_part, encode_part
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.schemas import SCHEMA_VERSION, SUPERSEDED
from jobs.rundir.sealed_parquet import ColumnEncoding, encode_sealed
from jobs.rundir.untrusted.item_values import num_planned_rows
from jobs.storage import join, storage_for

_SUPERSEDED = ColumnEncoding(delta=("item_id", "shard"))


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What an extension adds beside items.

    Attributes:
        growth: how the listing differed.
        superseded: the ``SUPERSEDED`` table of the items that changed or vanished.
    """

    growth: Growth
    superseded: pa.Table


def write_manifest(
    run_uri: str,
    parts: Iterable[pa.Table],
    metadata: Mapping[str, str],
    *,
    plan_id: str,
    before: Manifest | None = None,
    extension: Extension | None = None,
) -> bool:
    """Begin a run, or extend it, unless another driver was faster.

    Until the index exists nobody reads the parts, and where another driver's exists they are
    removed again.

    Args:
        run_uri: of the run's directory.
        parts: ``MANIFEST`` tables, which follow each other and end with a shard.
        metadata: at least ``run_id`` and ``fingerprint``, so that a run whose driver was killed
            before it wrote ``run.json`` can be resumed.
        plan_id: in hex, different for each plan of each driver.
        before: the manifest that is extended; None begins a run.
        extension: what an extension adds beside items.

    Returns:
        True when this call created the index; False when another driver did, whose plan counts.

    Raises:
        ConfigError: an index is missing before a later one.
    """
    assert metadata.keys() >= {"run_id", "fingerprint"}
    storage = storage_for(run_uri)
    generation = 0 if before is None else len(before.indexes)
    _require_no_gap(run_uri, generation)
    first_part = 0 if before is None else len(before.parts)
    written: list[Part] = []
    tables: list[ShardTable] = []
    footer = {"run_id": metadata["run_id"]}
    with _removed_on_failure(run_uri) as begun:
        for items in parts:
            number = first_part + len(written)
            data, name = encode_part(items, footer), part_name(number, plan_id)
            begun.append(name)
            storage.create(join(run_uri, FOLDER, name), data)
            written.append(describe_part(name, items, data))
            tables.append(_shards(items, number))
            del items, data  # or it would stay while the next part is made
    index = Index(
        metadata=metadata,
        parts=tuple(written),
        shards=ShardTable.concat(tables or [ShardTable.empty()]),
        growth=None if extension is None else extension.growth,
        superseded=_write_superseded(run_uri, extension, generation, plan_id, footer),
    )
    uri = join(run_uri, FOLDER, index_name(generation))
    is_created = storage.create(uri, index.encode(generation))
    _remove_unnamed(run_uri, own={part.name for part in index.parts})
    return is_created


def _require_no_gap(run_uri: str, generation: int) -> None:
    """Refuse to write an index where a later one stands: it would take a lost one's place.

    Of drivers that extend at once, the slower one may find both: the others were twice as fast.

    Raises:
        ConfigError: the index is missing, and a later one is there.
    """
    own, later = (
        join(run_uri, FOLDER, index_name(number)) for number in (generation, generation + 1)
    )
    storage = storage_for(run_uri)
    if storage.stat(later) is not None and storage.stat(own) is None:
        raise ConfigError(f"{later!r} is there, but {own!r} before it is gone: restore it")


@contextmanager
def _removed_on_failure(run_uri: str) -> Generator[list[str]]:
    """Remove parts of a plan that comes to nothing, as far as storage lets us.

    Only before the index: once its creation was tried, a failed reply does not say that it failed.

    Yields:
        The names of the parts.
    """
    names: list[str] = []
    try:
        yield names
    except BaseException:
        for name in names:
            with suppress(FcosError):
                storage_for(run_uri).delete(join(run_uri, FOLDER, name))
        raise


def _shards(items: pa.Table, part: int) -> ShardTable:
    return ShardTable.of_items(
        items.column("shard").to_numpy(),
        num_planned_rows(items),
        part=part,
        first=items.column("item_id")[0].as_py(),
    )


def _write_superseded(
    run_uri: str,
    extension: Extension | None,
    generation: int,
    plan_id: str,
    footer: Mapping[str, str],
) -> tuple[str, str] | None:
    if extension is None or not extension.superseded.num_rows:
        return None
    assert extension.superseded.schema.equals(SUPERSEDED)
    name = superseded_name(generation, plan_id)
    footer = {**footer, "schema_version": str(SCHEMA_VERSION)}
    data = encode_sealed(extension.superseded, footer, _SUPERSEDED)
    storage_for(run_uri).create(join(run_uri, FOLDER, name), data)
    return name, hashlib.sha256(data).hexdigest()


def _remove_unnamed(run_uri: str, own: Collection[str]) -> None:
    """Remove the parts of plans that lost, of killed drivers too: none can be named any more.

    Parts that a living driver writes for the next extension have a higher number, and stay; those
    of this driver, ``own``, are removed whatever their number is.
    """
    manifest = Manifest.read(run_uri)
    storage, folder = storage_for(run_uri), join(run_uri, FOLDER)
    names, num_parts, generations = manifest.names(), len(manifest.parts), len(manifest.indexes)
    for info in list(storage.list(folder)):
        name = info.uri.removeprefix(f"{folder}/")
        if not is_part_name(name) or name in names:
            continue
        kind, number, _ = name.split("-")
        if name in own or int(number) < (num_parts if kind == "part" else generations):
            storage.delete(info.uri)
