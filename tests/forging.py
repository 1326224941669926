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
