"""The Ray actor of a worker; it imports little, so that a worker without torch starts fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fcos_core.errors import StorageError
from jobs.dispatch.poison_search import PoisonSearch, PoisonSearchLimits
from jobs.rundir.shard import Failure

if TYPE_CHECKING:
    from jobs.dispatch.planned_shards import ShardLoader
    from jobs.rundir.shard import AnyShard, Outcome, Shard
    from jobs.worker.messages import MakeWorker, ShardWorker, WorkerSettings


def make_detector(settings: WorkerSettings) -> ShardWorker:
    """Make the worker that detects; torch is imported here, in the actor, and not in the driver."""
    from jobs.worker.worker import Worker

    return Worker(settings)


class WorkerActor:
    """A worker in a process of its own.

    ``start`` makes the worker, and not ``__init__``: Ray would hide an error of ``__init__``.
    """

    def __init__(self, make_worker: MakeWorker, settings: WorkerSettings) -> None:
        self._make_worker = make_worker
        self._settings = settings
        self._worker: ShardWorker | None = None
        self._loader: ShardLoader | None = None

    def ready(self) -> str:
        """Return the id of the node on which the actor has been placed."""
        import ray

        return ray.get_runtime_context().get_node_id()

    def find_poison(self, shard: AnyShard, limits: PoisonSearchLimits) -> dict[int, str]:
        """See ``PoisonSearch.find``; the actor leaves the device to the processes it starts."""
        assert self._worker is None
        items = self._load(shard).sound
        return PoisonSearch(self._make_worker, self._settings, limits).find(items)

    def start(self) -> None:
        from jobs.storage.without_pandas import keep_pandas_out

        keep_pandas_out()
        self._worker = self._make_worker(self._settings)

    def process(self, shard: AnyShard, upcoming: AnyShard | None) -> list[Outcome]:
        """See ``Worker.process``; a shard whose items cannot be read is a failure of storage."""
        assert self._worker is not None
        try:
            loaded = self._load(shard)
            following = None if upcoming is None else self._load(upcoming)
        except StorageError as error:
            return [*self._worker.finish(), Failure(shard=shard.number, error=str(error))]
        return self._worker.process(loaded, following)

    def _load(self, shard: AnyShard) -> Shard:
        from jobs.dispatch.planned_shards import ShardLoader  # with Arrow

        self._loader = self._loader or ShardLoader(self._settings.run_uri)
        return self._loader.load(shard)

    def finish(self) -> list[Outcome]:
        assert self._worker is not None
        return self._worker.finish()
