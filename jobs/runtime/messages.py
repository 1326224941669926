"""What a driver and its workers say to each other; light, for a worker may know no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fcos_core.predictor import Engine, Precision
    from jobs.tables.rows import ManifestItem


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
        batch_size: pictures per forward pass.
        threads: cores the worker may keep busy.
        score_threshold: detections lie above.
        max_pixels: the largest picture that is decoded.
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


@dataclass(frozen=True)
class Shard:
    """The unit of work: some items of the manifest, in its order, whose rows become one file.

    Attributes:
        number: of the shard.
        items: all of them.
        poison: why, by item_id, some of them are not to be touched: they kill whoever tries.
    """

    number: int
    items: tuple[ManifestItem, ...]
    poison: Mapping[int, str] = field(default_factory=dict[int, str])

    @property
    def sound(self) -> tuple[ManifestItem, ...]:
        """The items that may be touched."""
        return tuple(item for item in self.items if item.item_id not in self.poison)

    @property
    def num_rows(self) -> int:
        """Pictures and frames."""
        return sum(item.num_frames or 1 for item in self.items)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A shard whose file is committed.

    Attributes:
        shard: its number.
        num_items: pictures and video segments in it.
        num_ok: rows with detections.
        num_quarantined: rows of what could not be used.
        seconds: from the first item to the last row, without the writing.
        created: False when another attempt's file was there first, and ours was dropped.
        device: the model of what computed it.
        changed_items: of a later attempt, those it recovered from an object that is no longer the
            one the manifest lists, as when somebody repaired a picture.
    """

    shard: int
    num_items: int
    num_ok: int
    num_quarantined: int
    seconds: float
    created: bool
    device: str
    changed_items: tuple[int, ...] = ()

    @property
    def num_rows(self) -> int:
        """Pictures and frames."""
        return self.num_ok + self.num_quarantined


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A shard that storage refused to give or to take, even after several tries.

    Attributes:
        shard: its number.
        error: the last refusal.
    """

    shard: int
    error: str


Outcome = Receipt | Failure


class Crewman(Protocol):
    """What computes shards in a process of its own: ``Worker``, or something that stands for it."""

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Outcome]:
        """Compute a shard; see ``Worker.process``."""
        ...

    def finish(self) -> list[Outcome]:
        """Wait until all is written; see ``Worker.finish``."""
        ...

    def warm_up(self) -> None:
        """Compute a picture that is known to be good; see ``Worker.warm_up``."""
        ...

    def rehearse(self, item: ManifestItem) -> None:
        """Compute one item alone and write nothing; see ``Worker.rehearse``."""
        ...


class MakeWorker(Protocol):
    """Makes one in the process it is to live in; found there by its module and name."""

    def __call__(self, settings: WorkerSettings) -> Crewman:
        """Load what it needs."""
        ...
