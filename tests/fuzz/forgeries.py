"""Seeded forgeries of a run's files: each change has the hashes that this project would give it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAttributeAccessIssue=false
# pyarrow has no types

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.rundir.digest import rows_sha256
from jobs.rundir.fingerprint import fingerprint
from jobs.rundir.schemas import DETECTIONS
from tests.forging import encode_forged, seal_parquet, sealed, unseal_parquet
from tests.fuzz.json_documents import change
from tests.fuzz.mutations import mutate

Random = np.random.Generator

NUMBERS = (0, -1, 1, 2, 7, 2**31 - 1, -(2**31), 2**31, 2**63 - 1)
FLOATS = (0.0, -0.0, 1.0, 1.5, -1.0, 1e30, math.nan, math.inf, -math.inf)
TEXTS = ("", "ok", "quarantined", "image", "video_segment", "all", "1*2000000000 1*2000000000", "ä")
NO_UTF8 = b"\xff\xfe"
METADATA = (b"", b"x", b"-1", b"0", b"1", b"9" * 30, b"1e3", NO_UTF8, b"null", b"{}", b"[1]")


def forge_parquet(data: bytes, random: Random) -> bytes:
    """Change the rows, the metadata or the layout of a sealed file, and seal it again."""
    way = (_forge_rows, _forge_rows, _forge_metadata, _forge_layout)[int(random.integers(4))]
    return way(data, random)


def forge_record(data: bytes, random: Random) -> bytes:
    """Change the document of a ``run.json``, and seal it again."""
    changed = json.loads(change(json.loads(data), random))
    return json.dumps(sealed(changed) if isinstance(changed, dict) else changed).encode()


def forge_document(data: bytes, random: Random) -> bytes:
    """Change a JSON document that has no seal."""
    return change(json.loads(data), random)


def forge_events(data: bytes, random: Random) -> bytes:
    """Change an event."""
    events = [json.loads(line) for line in data.splitlines()]
    place = int(random.integers(len(events)))
    lines = [json.dumps(event).encode() for event in events]
    lines[place] = change(events[place], random)
    return b"\n".join(lines) + b"\n"


def _read(data: bytes) -> tuple[pa.Table, dict[bytes, bytes]]:
    file = pq.ParquetFile(pa.BufferReader(data))
    metadata: dict[bytes, bytes] = dict(file.metadata.metadata)
    metadata[b"of"] = b"a forger"
    metadata.pop(b"ARROW:schema")
    return file.read(), metadata


def _encode(table: pa.Table, metadata: dict[bytes, bytes], **options: Any) -> bytes:
    """Write a table with the numbers and the digest that a forger would give to its rows."""
    if table.schema.equals(DETECTIONS):
        metadata = {**metadata, b"num_rows": str(table.num_rows).encode()}
        metadata[b"rows_sha256"] = rows_sha256(table).encode()
    return encode_forged(table, metadata, **options)


def _forge_rows(data: bytes, random: Random) -> bytes:
    table, metadata = _read(data)
    for _ in range(int(random.integers(1, 3))):
        if random.random() < 0.2:
            places = random.integers(0, max(1, table.num_rows), int(random.integers(0, 40)))
            table = table.take(pa.array(places)) if table.num_rows else table
        else:
            table = _forge_column(table, random)
    return _encode(table, metadata, use_dictionary=bool(random.random() < 0.5))


def _forge_column(table: pa.Table, random: Random) -> pa.Table:
    place = int(random.integers(table.num_columns))
    field = table.schema.field(place)
    values: list[Any] = table.column(place).to_pylist()
    if values:
        row = int(random.integers(len(values)))
        values[row] = _odd(field.type, values[row], random)
    try:
        if any(isinstance(value, bytes) for value in values):
            column = pa.array([_bytes(value) for value in values], pa.binary()).view(pa.string())
        else:
            column = pa.array(values, field.type)
    except (pa.ArrowException, OverflowError):  # a table of another schema
        column = pa.array([str(value) for value in values], pa.string())
        field = pa.field(field.name, pa.string())
    if column.null_count and not field.nullable:
        field = field.with_nullable(nullable=True)
    return table.set_column(place, field, column)


def _bytes(value: object) -> bytes | None:
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else None


def _odd(kind: pa.DataType, value: Any, random: Random) -> Any:
    if random.random() < 0.1:
        return None
    if pa.types.is_integer(kind):
        return _one_of(NUMBERS, random)
    if pa.types.is_floating(kind):
        return _one_of(FLOATS, random)
    if pa.types.is_string(kind):
        return NO_UTF8 if random.random() < 0.2 else _one_of(TEXTS, random)
    found: list[Any] = list(value or [])
    if not found or random.random() < 0.3:
        return found[::-1] + found
    if isinstance(found[0], float):
        return [*found[1:], _one_of(FLOATS, random)]
    one = dict(found[int(random.integers(len(found)))])
    name = _one_of(tuple(one), random)
    one[name] = _one_of(NUMBERS[:6] if name == "category_id" else FLOATS, random)
    found[int(random.integers(len(found)))] = one
    return found


def _one_of(values: Any, random: Random) -> Any:
    return values[int(random.integers(len(values)))]


def _forge_metadata(data: bytes, random: Random) -> bytes:
    table, metadata = _read(data)
    name = _one_of(list(metadata), random)
    match int(random.integers(4)):
        case 0:
            del metadata[name]
        case 1:
            metadata[NO_UTF8 if random.random() < 0.5 else b"unknown"] = b"1"
        case 2 if b"fingerprint_fields" in metadata:
            fields = json.loads(change(json.loads(metadata[b"fingerprint_fields"]), random))
            metadata[b"fingerprint_fields"] = json.dumps(fields).encode()
            metadata[b"fingerprint"] = _fingerprint_or_nothing(fields).encode()
        case _:
            metadata[name] = _one_of(METADATA, random)
    return encode_forged(table, metadata)


def _fingerprint_or_nothing(fields: Any) -> str:
    try:
        return fingerprint(fields)
    except (ValueError, TypeError):
        return "0"


def _forge_layout(data: bytes, random: Random) -> bytes:
    """Damage a file without compression and checksums, so that the damage reaches the decoders."""
    table, metadata = _read(data)
    plain = unseal_parquet(
        encode_forged(table, metadata, compression=_one_of(("none", "zstd"), random))
    )
    start = 4 if random.random() < 0.5 else max(4, len(plain) - 3000)  # pages, or the footer
    damaged = plain[:start] + mutate(plain[start:-8], [plain], random) + plain[-8:]
    return seal_parquet(damaged)  # curves have no seal, and mind none


FORGE: dict[str, Callable[[bytes, Random], bytes]] = {
    "detections/000000/shard-000001.parquet": forge_parquet,
    "retries/1/000000/shard-000001.parquet": forge_parquet,
    "manifest/index-000000.parquet": forge_parquet,
    "manifest/part-000000-*.parquet": forge_parquet,
    "run.json": forge_record,
    "evaluation/curves.parquet": forge_parquet,
    "evaluation/metrics.json": forge_document,
    "events/of-a-test.jsonl": forge_events,
}
"""How each file of a run is forged; a part of the manifest has a name of its own in each run."""
