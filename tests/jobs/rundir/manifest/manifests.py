"""Manifests of several parts for the tests."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from jobs.rundir.manifest.index import Growth
from jobs.rundir.manifest.manifest import Manifest
from jobs.rundir.manifest.writing import Extension, write_manifest
from jobs.rundir.rows import ManifestItem, items_to_table
from jobs.rundir.schemas import SUPERSEDED
from tests.jobs.rundir.strategies import RUN_ID

METADATA = {"run_id": RUN_ID, "fingerprint": "f" * 64}
PLAN_ID = "00000000"
OTHER_PLAN_ID = "ffffffff"


def tables(items: Sequence[ManifestItem], *, shards_per_part: int) -> list[pa.Table]:
    """Cut items into parts of so many neighbouring shards, by their numbers."""
    parts: dict[int, list[ManifestItem]] = {}
    for item in items:
        parts.setdefault(item.shard // shards_per_part, []).append(item)
    return [items_to_table(part) for _, part in sorted(parts.items())]


def begin(
    folder: Path, parts: Sequence[pa.Table], *, plan_id: str = PLAN_ID, **metadata: str
) -> Manifest:
    """Begin a run with these parts."""
    assert write_manifest(str(folder), parts, METADATA | metadata, plan_id=plan_id)
    return Manifest.read(str(folder))


def extend(
    folder: Path,
    parts: Sequence[pa.Table],
    *,
    superseded: Sequence[tuple[int, int, bool]] = (),
    plan_id: str = OTHER_PLAN_ID,
    growth: Growth | None = None,
) -> Manifest:
    """Extend a run by these parts; ``superseded`` are rows of that table."""
    columns = list(zip(*superseded, strict=True)) or [[], [], []]
    table = pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, SUPERSEDED, strict=True)],
        schema=SUPERSEDED,
    )
    growth = growth or Growth(num_new=1, num_changed=0, num_vanished=0)
    before = Manifest.read(str(folder))
    assert write_manifest(
        str(folder),
        parts,
        METADATA,
        plan_id=plan_id,
        before=before,
        extension=Extension(growth=growth, superseded=table),
    )
    return Manifest.read(str(folder))


def names(folder: Path) -> list[str]:
    """The names of all files of a manifest."""
    return sorted(path.name for path in (folder / "manifest").iterdir())
