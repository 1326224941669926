"""What runs in the process of a Ray actor; imports so little that a light worker stays light."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportMissingTypeStubs=false
# Ray has no types

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.dispatch.poison_search import Examination, ExaminationLimits

if TYPE_CHECKING:
    from jobs.rundir.shard import Outcome, Shard
    from jobs.worker.messages import MakeWorker, ShardWorker, WorkerSettings


def make_detector(settings: WorkerSettings) -> ShardWorker:
    """Make the worker that detects; only here is torch imported, not where this is sent from."""
    from jobs.worker.worker import Worker

    return Worker(settings)


class WorkerActor:
    """A worker in a process of its own; made in ``start``, so that its errors arrive unchanged."""

    def __init__(self, make_worker: MakeWorker, settings: WorkerSettings) -> None:
        self._make_worker = make_worker
        self._settings = settings
        self._worker: ShardWorker | None = None

    def arrive(self) -> str:
        """Say which node has room for it."""
        import ray

        return ray.get_runtime_context().get_node_id()

    def examine(self, shard: Shard, limits: ExaminationLimits) -> dict[int, str]:
        """See ``Examination.poison``; the device is left to the processes that it starts."""
        assert self._worker is None
        return Examination(self._make_worker, self._settings, limits).poison(shard.sound)

    def start(self) -> None:
        """Load the model."""
        self._worker = self._make_worker(self._settings)

    def process(self, shard: Shard, upcoming: Shard | None) -> list[Outcome]:
        """See ``Worker.process``."""
        assert self._worker is not None
        return self._worker.process(shard, upcoming)

    def finish(self) -> list[Outcome]:
        """See ``Worker.finish``."""
        assert self._worker is not None
        return self._worker.finish()
