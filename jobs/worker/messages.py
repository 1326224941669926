"""What a driver and its workers say to each other; light, for a worker may know no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jobs.rundir.shard import Outcome, Shard

if TYPE_CHECKING:
    from fcos_core.config import Engine, Precision
    from jobs.rundir.rows import ManifestItem


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """All that a worker needs to know of its run; it is the same for every worker.

    Attributes:
        run_uri: the run's directory.
        run_id: what the footers of its shards say.
        weights: a published name, or an absolute path or uri, found again on the worker's machine.
        weights_sha256: what they must be.
        device: ``cpu`` or ``cuda``.
        device_model: what the run was begun on.
        allow_mixed_devices: compute on another model as well, and mark its shards ``tolerance``.
        precision: of the network.
        engine: how the network is run.
        batch_size: images per forward pass.
        threads: cores the worker may keep busy.
        score_threshold: detections lie above.
        max_pixels: the largest image that is decoded.
        bytes_in_flight: encoded and decoded bytes loaded ahead.
        attempt: which later attempt at quarantined items it is; None for the shards themselves. A
            later attempt takes items as they are now: somebody may have repaired them.
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
    """What computes shards in a process of its own: ``Worker``, or something that stands for it."""

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Outcome]:
        """Compute a shard; see ``Worker.process``."""
        ...

    def finish(self) -> list[Outcome]:
        """Wait until all is written; see ``Worker.finish``."""
        ...

    def warm_up(self) -> None:
        """Compute an image that is known to be good; see ``Worker.warm_up``."""
        ...

    def run_trial(self, item: ManifestItem) -> None:
        """Compute one item alone and write nothing; see ``Worker.run_trial``."""
        ...


class MakeWorker(Protocol):
    """Makes one in the process it is to live in; found there by its module and name."""

    def __call__(self, settings: WorkerSettings) -> ShardWorker:
        """Load what it needs."""
        ...
