"""Seals made anew, as a forger makes them who has this code: every hash is that of the content."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.rundir.manifest.index import index_name
from jobs.rundir.manifest.part import Part, parts_to_json
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.sealed_parquet import open_sealed
from jobs.rundir.untrusted.item_values import num_planned_rows

INDEX = index_name(0)
SEAL_MARK = b"FCOSSEAL"
TAIL_BYTES = 8


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Seal the document of a ``run.json``."""
    fields = {name: value for name, value in document.items() if name != "sha256"}
    text = json.dumps(fields, sort_keys=True)
    return {**fields, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def seal_parquet(data: bytes) -> bytes:
    """Seal the bytes of a Parquet file that has no seal."""
    footer = len(data) - TAIL_BYTES - int.from_bytes(data[-8:-4], "little")
    footer = max(0, min(footer, len(data)))
    return data[:footer] + SEAL_MARK + hashlib.sha256(data).digest() + data[footer:]


def unseal_parquet(data: bytes) -> bytes:
    """Take the seal out of a Parquet file."""
    footer = len(data) - TAIL_BYTES - int.from_bytes(data[-8:-4], "little")
    seal = footer - len(SEAL_MARK) - hashlib.sha256().digest_size
    assert data[seal : seal + len(SEAL_MARK)] == SEAL_MARK
    return data[:seal] + data[footer:]


def metadata_of_file(path: Path) -> dict[bytes, bytes]:
    """The key-value metadata of a file, without the schema that Arrow keeps there."""
    metadata: dict[bytes, bytes] = pq.ParquetFile(path).metadata.metadata
    return {key: value for key, value in metadata.items() if key != b"ARROW:schema"}


def encode_forged(table: pa.Table, metadata: Mapping[bytes, bytes], **options: Any) -> bytes:
    """Write a table as a sealed file in any layout, with any metadata."""
    sink = pa.BufferOutputStream()
    layout: dict[str, Any] = {"compression": "zstd", **options}
    with pq.ParquetWriter(sink, table.schema, **layout) as writer:
        writer.add_key_value_metadata(dict(metadata))
        writer.write_table(table)
    return seal_parquet(sink.getvalue().to_pybytes())


def forge_manifest(
    run: Path,
    items: pa.Table,
    metadata: Mapping[bytes, bytes],
    *,
    shards: ShardTable | None = None,
    part_metadata: Mapping[bytes, bytes] | None = None,
) -> Path:
    """Write a part with any items, and an index that names it as a forger would.

    Args:
        run: the run's directory, made where it is missing.
        items: of the part, in any schema.
        metadata: of the index, without what names the part.
        shards: what the index says of the items; None counts them.
        part_metadata: of the part; None repeats that of the index.

    Returns:
        The part's path.
    """
    folder = run / "manifest"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "part-000000-0badf00d.parquet"
    path.write_bytes(encode_forged(items, metadata if part_metadata is None else part_metadata))
    part = Part(name=path.name, sha256="", size_bytes=1, first_item_id=0, num_items=items.num_rows)
    table = shards_of(items, part=0, first=0) if shards is None else shards
    index = {b"generation": b"0", **metadata, b"parts": parts_to_json((part,)).encode()}
    (folder / INDEX).write_bytes(encode_forged(table.to_arrow(), index))
    name_parts_as_they_are(run)
    return path


def shards_of(items: pa.Table, *, part: int, first: int) -> ShardTable:
    """Count the shards of a part's items."""
    shards, rows = items.column("shard").to_numpy(), num_planned_rows(items)
    return ShardTable.of_items(shards, rows, part=part, first=first)


def name_parts_as_they_are(run: Path, *, index: str = INDEX) -> None:
    """Let an index have the sha256 and the size of its parts' bytes, whatever these are now."""
    path = run / "manifest" / index
    table, metadata = pq.read_table(path), metadata_of_file(path)
    parts = [
        Part(**{**named, **_of_bytes((path.parent / named["name"]).read_bytes())})
        for named in json.loads(metadata[b"parts"])
    ]
    metadata[b"parts"] = parts_to_json(tuple(parts)).encode()
    path.write_bytes(encode_forged(table, metadata))


def _of_bytes(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}


def forge_index(
    run: Path, *, index: str = INDEX, shards: pa.Table | None = None, **changes: Any
) -> None:
    """Change the shards or the metadata of an index; a value that is no text becomes JSON."""
    path = run / "manifest" / index
    table = pq.read_table(path) if shards is None else shards
    texts = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in changes.items()
    }
    changed = {name.encode(): text.encode() for name, text in texts.items()}
    path.write_bytes(encode_forged(table, {**metadata_of_file(path), **changed}))


def count_items_as_they_are(run: Path, *, index: str = INDEX) -> None:
    """Let an index describe the items that its parts have now, where these can be counted."""
    path = run / "manifest" / index
    metadata = metadata_of_file(path)
    parts: list[Part] = []
    shards: list[ShardTable] = []
    for named in json.loads(metadata[b"parts"]):
        items = open_sealed((path.parent / named["name"]).read_bytes()).read()
        first = parts[-1].end if parts else 0
        counted: dict[str, Any] = {"first_item_id": first, "num_items": items.num_rows}
        shards.append(shards_of(items, part=len(parts), first=first))
        parts.append(Part(**{**named, **counted}))
    metadata[b"parts"] = parts_to_json(tuple(parts)).encode()
    path.write_bytes(encode_forged(ShardTable.concat(shards).to_arrow(), metadata))
