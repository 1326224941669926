"""The run directory: where each file lies, the manifest, ``run.json`` and the list of shards."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fcos_core.errors import ConfigError, one_line
from jobs.rundir.manifest.index import index_name
from jobs.rundir.manifest.manifest import FOLDER, Manifest, is_begun, is_of_earlier_version
from jobs.rundir.manifest.writing import write_manifest
from jobs.rundir.record import RunRecord, encode_record, parse_record, warn_of_no_seal
from jobs.rundir.rows import ManifestItem
from jobs.rundir.schemas import SCHEMA_VERSION, shard_name, shard_number
from jobs.rundir.untrusted.manifest_metadata import difference, needs_sealed_record
from jobs.storage import absolute, join, storage_for

SHARDS_PER_FOLDER = 10_000
"""So that no folder has more files than a file system or a person looks through with ease."""

_MADE_AGAIN = "the command that began the run makes it again"
_REMEDY = f"delete it, and {_MADE_AGAIN}"


@dataclass(frozen=True, kw_only=True)
class ShardListing:
    """The files in the folders of shards.

    Attributes:
        shards: numbers of the committed shards, rising.
        retries: number and uri of each retry of a shard's quarantined items, oldest first, by
            shard.
        foreign: uris of files whose name is no shard's.
        leftovers: uris of hidden files, which killed writers or the file system left.
    """

    shards: npt.NDArray[np.int64]
    retries: Mapping[int, Sequence[tuple[int, str]]]
    foreign: tuple[str, ...] = ()
    leftovers: tuple[str, ...] = ()

    def of(self, numbers: npt.NDArray[np.integer]) -> ShardListing:
        """Take what concerns some shards, by their rising numbers, without other files."""
        return ShardListing(
            shards=self.shards[np.isin(self.shards, numbers)],
            retries={n: self.retries[n] for n in numbers.tolist() if n in self.retries},
        )


@dataclass(frozen=True)
class RunDirectory:
    """One run, by the uri of its directory; nothing is read or made before a method is called."""

    uri: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "uri", absolute(self.uri))

    @property
    def manifest_uri(self) -> str:
        """Of the index that begins the run."""
        return join(self.uri, FOLDER, index_name(0))

    @property
    def run_uri(self) -> str:
        return join(self.uri, "run.json")

    @cached_property
    def _is_flat(self) -> bool:
        return is_of_earlier_version(self.uri)

    def shard_uri(self, shard: int, attempt: int | None = None) -> str:
        """Name a shard's file, or the file of a retry of its quarantined items."""
        folder = "detections" if attempt is None else f"retries/{attempt}"
        between = () if self._is_flat else (f"{shard // SHARDS_PER_FOLDER:06d}",)
        return join(self.uri, folder, *between, shard_name(shard))

    def evaluation_uri(self, name: str) -> str:
        return join(self.uri, "evaluation", name)

    def bpr_uri(self, name: str) -> str:
        return join(self.uri, "bpr", name)

    def event_uri(self, name: str) -> str:
        """Name a file of timings and devices, which is no part of the result."""
        return join(self.uri, "events", name)

    def exists(self) -> bool:
        """Say whether a run was begun here."""
        return is_begun(self.uri)

    def manifest(self) -> Manifest:
        """Read what the run is to do, without its items.

        Raises:
            ConfigError: the run was not begun, or an index is damaged.
        """
        return Manifest.read(self.uri)

    def create_manifest(self, items: pa.Table, metadata: Mapping[str, str]) -> bool:
        """Begin a run with a manifest of one part, unless it was begun; see ``write_manifest``.

        Args:
            items: a ``MANIFEST`` table: item_id from 0 by one, shard never falling.
            metadata: at least ``run_id`` and ``fingerprint``.

        Returns:
            True when this call began it; False when another driver did, whose manifest counts.
        """
        return write_manifest(self.uri, [items], metadata, plan_id=uuid.uuid4().hex)

    def read_manifest(self) -> list[ManifestItem]:
        """Read all items, also those whose place newer ones have taken."""
        return [item for _, items in self.manifest().iterate() for item in items]

    def create_run_record(self, record: RunRecord) -> bool:
        """Write ``run.json`` unless there is one; say whether this call created it."""
        return storage_for(self.uri).create(self.run_uri, encode_record(record))

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
        manifest = self.manifest() if self.exists() else None
        is_new = manifest is None or needs_sealed_record(manifest.metadata)
        try:
            record, is_sealed = parse_record(storage.read(self.run_uri), needs_seal=is_new)
        except ValueError as error:
            reason = f"{one_line(error)}; {_REMEDY}"
            raise ConfigError(f"{self.run_uri!r} is damaged: {reason}") from error
        if not is_sealed:
            warn_of_no_seal(self.run_uri)
        version = SCHEMA_VERSION if manifest is None else manifest.schema_version
        if record.schema_version != version:
            raise ConfigError(
                f"{self.run_uri!r} has tables of version {record.schema_version}, this is {version}"
            )
        if manifest is not None:
            unlike = difference(record.model_dump(mode="json"), manifest.metadata)
            if unlike is not None:
                raise ConfigError(f"{self.run_uri!r}: {unlike}; {_REMEDY}")
        return record

    def list_shards(self) -> ShardListing:
        """List the committed shards, their retries, and all other files beside them."""
        storage = storage_for(self.uri)
        shards: set[int] = set()
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
                    continue
                attempt = _attempt(above) if folder == "retries" else None
                if number is None or self.shard_uri(number, attempt) != info.uri:
                    foreign.append(info.uri)
                elif attempt is None:
                    shards.add(number)
                else:
                    retries.setdefault(number, []).append((attempt, info.uri))
        return ShardListing(
            shards=np.array(sorted(shards), np.int64),
            retries={shard: sorted(attempts) for shard, attempts in sorted(retries.items())},
            foreign=tuple(foreign),
            leftovers=tuple(leftovers),
        )


def _attempt(folders: Sequence[str]) -> int | None:
    """Read the number of a retry from the folders above a file."""
    number = folders[0] if folders else ""
    return int(number) if number.isascii() and number.isdigit() else None
