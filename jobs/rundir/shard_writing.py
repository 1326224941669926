"""Write the file of a shard; creating it is the commit."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.rundir.digest import rows_sha256
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import Row, rows_to_table
from jobs.rundir.schemas import COORDINATES, DigestClass, ShardFooter
from jobs.rundir.sealed_parquet import ColumnEncoding, encode_sealed
from jobs.storage import storage_for

_ENCODING = ColumnEncoding(
    dictionary=(
        "width",
        "height",
        "status",
        "error_class",
        "error",
        "note",
        "detections.list.element.category_id",
        "detections.list.element.category_name",
    ),
    byte_stream_split=(
        "timestamp_s",
        *(f"detections.list.element.{name}" for name in ("score", *COORDINATES)),
    ),
    delta=("item_id", "image_id", "frame_index", "last_frame"),
)


def encode_shard(
    rows: Sequence[Row],
    *,
    run_id: str,
    shard: int,
    digest_class: DigestClass = "exact",
    category_names: Mapping[int, str] | None = None,
) -> bytes:
    """Write all rows of one shard, in manifest order, as a Parquet file in memory."""
    assert rows
    table = rows_to_table(rows, category_names)
    footer = ShardFooter(
        run_id=run_id,
        shard=shard,
        first_item_id=rows[0].item_id,
        last_item_id=rows[-1].item_id,
        num_rows=len(rows),
        rows_sha256=rows_sha256(table),
        digest_class=digest_class,
    )
    return encode_sealed(table, footer.to_metadata(), _ENCODING)


def commit_shard(run: RunDirectory, shard: int, data: bytes, *, attempt: int | None = None) -> bool:
    """Create a shard's file; from then on the shard is done.

    Returns:
        True when this call created the file; False when the file existed, and nothing changed.
    """
    return storage_for(run.uri).create(run.shard_uri(shard, attempt), data)
