"""Parquet files with a seal, which detects a change of any single bit.

Parquet's page checksums do not cover the footer, the page headers and the indexes, and a plain
reader takes many flipped bits for other values. So each file has a seal directly before its footer:
eight marker bytes and the sha256 of all other bytes. Readers locate every part by its offset from
the start or the end of the file, so they do not see the seal.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportArgumentType=false
# pyarrow has no types that are right

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.rundir.untrusted.parquet_file import UntrustedFile, open_untrusted

_MAGIC = b"PAR1"
_SEAL_MARK = b"FCOSSEAL"
_SEAL_BYTES = len(_SEAL_MARK) + hashlib.sha256().digest_size
_TAIL_BYTES = 8  # length of the footer in four bytes, then the magic
_ROWS_PER_GROUP = 65_536


class BrokenSealError(ValueError):
    """The bytes have changed since they were written; the message says how that was found."""


@dataclass(frozen=True, kw_only=True)
class ColumnEncoding:
    """The encoding of each column; nested columns are named by their dotted path.

    Attributes:
        dictionary: columns with few different values.
        byte_stream_split: columns of floats, which a dictionary would make larger.
        delta: columns of rising integers.
    """

    dictionary: Sequence[str] = ()
    byte_stream_split: Sequence[str] = ()
    delta: Sequence[str] = ()


def encode_sealed(
    table: pa.Table,
    metadata: Mapping[str, str],
    encoding: ColumnEncoding,
    *,
    rows_per_group: int = _ROWS_PER_GROUP,
) -> bytes:
    """Write a table as a sealed Parquet file in memory; the metadata goes into its footer."""
    sink = pa.BufferOutputStream()
    column_encoding = dict.fromkeys(encoding.byte_stream_split, "BYTE_STREAM_SPLIT")
    column_encoding |= dict.fromkeys(encoding.delta, "DELTA_BINARY_PACKED")
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=list(encoding.dictionary),
        column_encoding=column_encoding,
        write_page_checksum=True,
    ) as writer:
        writer.add_key_value_metadata(dict(metadata))
        writer.write_table(table, row_group_size=rows_per_group)
    return _seal(sink.getvalue().to_pybytes())


def open_sealed(
    data: bytes, *, max_rows: int | None = None, is_streamed: bool = False
) -> UntrustedFile:
    """Check the seal of a file, then open it.

    A seal has no key: it finds damage, but a forger can make one. So the file is not trusted.
    ``open_untrusted`` describes the arguments.

    Raises:
        BrokenSealError: the file is empty, cut short, changed, or has no seal.
        UnreadableFileError: it was sealed, but is no Parquet file, or announces too much.
    """
    _check_seal(data)
    return open_untrusted(data, max_rows=max_rows, is_streamed=is_streamed)


def metadata_of(file: UntrustedFile) -> dict[str, str]:
    """Read the key-value metadata that ``encode_sealed`` wrote."""
    return {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in file.metadata.items()
        if key != b"ARROW:schema"
    }


def _seal(data: bytes) -> bytes:
    footer = len(data) - _TAIL_BYTES - _footer_length(data)
    digest = hashlib.sha256(data).digest()
    return b"".join((memoryview(data)[:footer], _SEAL_MARK, digest, memoryview(data)[footer:]))


def _check_seal(data: bytes) -> None:
    if not data:
        raise BrokenSealError("it is empty")
    if not data.startswith(_MAGIC):
        raise BrokenSealError("it does not begin like a Parquet file")
    if not data.endswith(_MAGIC):
        raise BrokenSealError("it is cut short: it does not end like a Parquet file")
    seal_end = len(data) - _TAIL_BYTES - _footer_length(data)
    seal = seal_end - _SEAL_BYTES
    if seal < len(_MAGIC) or data[seal : seal + len(_SEAL_MARK)] != _SEAL_MARK:
        raise BrokenSealError("it has no seal before its footer: damaged, or not written by fcos")
    view = memoryview(data)
    digest = hashlib.sha256(view[:seal])
    digest.update(view[seal_end:])
    if digest.digest() != data[seal + len(_SEAL_MARK) : seal_end]:
        raise BrokenSealError("its bytes have changed since they were written: the sha256 differs")


def _footer_length(data: bytes) -> int:
    return int.from_bytes(data[-_TAIL_BYTES : -len(_MAGIC)], "little")
