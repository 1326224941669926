"""What a driver and its workers exchange; imports no torch, since not every worker needs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jobs.rundir.shard import Outcome, Shard

if TYPE_CHECKING:
    from fcos_core.config import Engine, Precision
    from jobs.rundir.rows import ManifestItem


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker needs to know about its run; the same for every worker.

    Attributes:
        run_uri: directory of the run.
        run_id: recorded in the footers of the shards.
        weights: published name, absolute path or uri; the worker's machine must find it too.
        weights_sha256: SHA-256 that the weights must have.
        device: ``cpu`` or ``cuda``.
        device_model: model of the device on which the run began.
        allow_mixed_devices: whether a worker may have a device of another model; its shards are
            then marked ``tolerance``.
        precision: of the network.
        engine: how the network is run.
        batch_size: images per forward pass.
        threads: cores that the worker may keep busy.
        score_threshold: detections must lie above.
        max_pixels: pixels of the largest image that is decoded.
        bytes_in_flight: encoded and decoded bytes that are prefetched.
        attempt: number of the retry of quarantined items; None for the run's own shards. A retry
            reads items as they are now, since a user may have repaired them.
    """

    run_uri: str
    run_id: str
    weights: str
    weights_sha256: str
    device: str
    device_model: str
    allow_mixed_devices: bool
    precision: Precision
    engine: Engine
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
