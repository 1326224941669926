"""The index of a manifest: which part holds which shard; creating it begins or extends the run."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from jobs.rundir.manifest.part import Part, parts_from_json, parts_to_json
from jobs.rundir.manifest.shard_table import ShardTable
from jobs.rundir.schemas import MANIFEST_INDEX, SCHEMA_VERSION
from jobs.rundir.sealed_parquet import ColumnEncoding, encode_sealed, metadata_of, open_sealed
from jobs.rundir.untrusted.limits import MAX_SHARD_ROWS
from jobs.rundir.untrusted.manifest_metadata import require_possible_metadata

_MOST_SHARDS = 20_000_000  # half a gigabyte of memory
_ENCODING = ColumnEncoding(delta=("shard", "part", "first_item_id", "num_items", "num_rows"))
_PART_NAME = re.compile(r"(?:part|superseded)-\d{6,}-[0-9a-f]{8}\.parquet")


def index_name(generation: int) -> str:
    """Name the index that begins a run (0) or extends it for the n-th time."""
    return f"index-{generation:06d}.parquet"


def part_name(number: int, plan_id: str) -> str:
    """Name a part; two drivers that begin one run at once write parts of different names."""
    return f"part-{number:06d}-{plan_id[:8]}.parquet"


def superseded_name(generation: int, plan_id: str) -> str:
    """Name the table of the items that an extension found changed or vanished."""
    return f"superseded-{generation:06d}-{plan_id[:8]}.parquet"


def is_part_name(name: str) -> bool:
    """Whether a file may be of a plan that lost, or whose driver died before it was an index."""
    return _PART_NAME.fullmatch(name) is not None


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How an extension's listing differed from the run, in inputs (a video is one).

    Attributes:
        num_new: inputs that the run did not have.
        num_changed: inputs of another version, whose new rows take the place of the old ones.
        num_vanished: inputs of the run that are gone; their rows stay.
    """

    num_new: int
    num_changed: int
    num_vanished: int

    def summary(self) -> dict[str, int]:
        """The counts, by the names that scripts rely on."""
        return {
            "inputs_new": self.num_new,
            "inputs_changed": self.num_changed,
            "inputs_vanished": self.num_vanished,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Index:
    """One index file.

    Attributes:
        metadata: of the run or the extension, as its driver wrote it, with ``run_id``.
        parts: those that this index adds.
        shards: those that this index adds; ``ShardTable.parts`` counts over the whole run.
        growth: None where the index begins the run.
        superseded: file of the ``SUPERSEDED`` table, with its sha256; None where nothing is.
    """

    metadata: Mapping[str, str]
    parts: tuple[Part, ...]
    shards: ShardTable
    growth: Growth | None = None
    superseded: tuple[str, str] | None = None

    def encode(self, generation: int) -> bytes:
        """Write the index as a sealed file in memory."""
        metadata = {
            **self.metadata,
            "schema_version": str(SCHEMA_VERSION),
            "generation": str(generation),
            "parts": parts_to_json(self.parts),
            "growth": json.dumps(None if self.growth is None else asdict(self.growth)),
            "superseded": json.dumps(self.superseded),
        }
        return encode_sealed(self.shards.to_arrow(), metadata, _ENCODING)


def decode_index(data: bytes, before: Sequence[Index]) -> Index:
    """Read an index, and check it against all those before it.

    Raises:
        ValueError: it is damaged, of another version, or does not continue those before.
    """
    # Shards of equal size take next to no bytes, so the size of the file is no limit.
    file = open_sealed(data, max_rows=_MOST_SHARDS)
    metadata = metadata_of(file)
    version = metadata.get("schema_version")
    if version != str(SCHEMA_VERSION) or not file.schema.equals(MANIFEST_INDEX):
        raise ValueError(f"it has other columns, or tables of version {version}")
    require_possible_metadata(metadata)
    if metadata.get("generation") != str(len(before)):
        raise ValueError(f"renamed: it is index {metadata.get('generation')}")
    run_id = before[0].metadata["run_id"] if before else metadata["run_id"]
    if metadata["run_id"] != run_id:
        raise ValueError(f"foreign: it is of run {metadata['run_id']}, this is run {run_id}")
    parts = parts_from_json(metadata.get("parts", "null"))
    shards = ShardTable.from_arrow(file.read())
    _require_continuous(parts, shards, before)
    return Index(
        metadata=metadata,
        parts=parts,
        shards=shards,
        growth=_growth(_parsed(metadata, "growth")),
        superseded=_superseded(_parsed(metadata, "superseded")),
    )


def _require_continuous(
    parts: tuple[Part, ...], shards: ShardTable, before: Sequence[Index]
) -> None:
    """Check that the shards follow each other, and lie in the parts.

    Raises:
        ValueError: they do not.
    """
    first_item, first_part, last_shard = 0, 0, -1
    others = [index for index in before if index.parts]  # an extension may have found none
    if others:
        last = others[-1].shards.select(slice(-1, None))
        first_item = int(last.first_items[0]) + int(last.num_items[0])
        first_part, last_shard = int(last.parts[0]) + 1, int(last.numbers[0])
    if parts and parts[0].first_item_id != first_item:
        raise ValueError(f"its first item is {parts[0].first_item_id}, must be {first_item}")
    if bool(parts) != bool(len(shards)):
        raise ValueError(f"it has {len(parts)} parts and {len(shards)} shards")
    if not parts:
        return
    ends = shards.first_items + shards.num_items
    places = shards.parts - first_part
    if places.min() < 0 or places.max() >= len(parts):
        raise ValueError("a shard lies in a part that it does not name")
    starts_of_parts = np.array([part.first_item_id for part in parts])[places]
    ends_of_parts = np.array([part.end for part in parts])[places]
    is_wrong = (
        (np.diff(shards.numbers, prepend=last_shard) < 1)
        | (np.append([first_item], ends[:-1]) != shards.first_items)
        | (shards.num_items < 1)
        | (shards.num_rows < shards.num_items)
        | (shards.num_rows > MAX_SHARD_ROWS)
        | (shards.first_items < starts_of_parts)
        | (ends > ends_of_parts)
    )
    if is_wrong.any():
        raise ValueError(f"shard {shards.numbers[is_wrong.argmax()]} cannot be where it says")
    if ends[-1] != parts[-1].end:
        raise ValueError(f"its shards end before item {ends[-1]}, its parts before {parts[-1].end}")


def _growth(found: object) -> Growth | None:
    if found is None:
        return None
    values = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    names = ("num_new", "num_changed", "num_vanished")
    if set(values) != set(names) or any(type(values[n]) is not int or values[n] < 0 for n in names):
        raise ValueError(f"its growth is {found!r:.80}")
    return Growth(**values)


def _superseded(found: object) -> tuple[str, str] | None:
    if found is None:
        return None
    match found:
        case [str(name), str(digest)] if is_part_name(name):
            return name, digest
        case _:
            raise ValueError(f"its superseded items are in {found!r:.80}")


def _parsed(metadata: Mapping[str, str], name: str) -> object:
    try:
        return json.loads(metadata.get(name, "null"))
    except RecursionError as error:
        raise ValueError(f"its {name} is nested too deeply") from error
