"""What a driver and its workers exchange; imports no torch, since not every worker needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jobs.rundir.shard import Outcome, Shard

if TYPE_CHECKING:
    from fcos_core.config import EngineName, Precision
    from jobs.parallel.libraries import Libraries
    from jobs.rundir.rows import ManifestItem


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker needs to know about its run; the same for every worker.

    The worker's machine must find ``weights`` (a published name, an absolute path or a uri) with
    this SHA-256. The run began on ``device_model`` with ``libraries``: others are refused, or if
    ``allow_mixed_devices``, their shards are marked ``tolerance``; so is another
    ``numerics_version`` than the run's, by ``allow_version_change``. ``threads`` are the cores that
    the worker may keep busy, and ``bytes_in_flight`` the encoded and decoded bytes that are
    prefetched. ``attempt`` is the number of a retry of quarantined items, or None for the run's own
    shards; a retry reads items as they are now, since a user may have repaired them.
    """

    run_uri: str
    run_id: str
    weights: str
    weights_sha256: str
    device: str
    device_model: str
    libraries: Libraries
    allow_mixed_devices: bool
    numerics_version: int
    allow_version_change: bool
    precision: Precision
    engine: EngineName
    batch_size: int
    threads: int
    score_threshold: float
    max_pixels: int
    bytes_in_flight: int
    attempt: int | None = None


class ShardWorker(Protocol):
    """What computes shards: ``Worker``, which documents the methods, or a stand-in in tests."""

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Outcome]: ...

    def finish(self) -> list[Outcome]: ...

    def warm_up(self) -> None: ...

    def run_trial(self, item: ManifestItem) -> None: ...


class MakeWorker(Protocol):
    """Makes a worker in the actor's process, where it is imported by module and name."""

    def __call__(self, settings: WorkerSettings) -> ShardWorker: ...
