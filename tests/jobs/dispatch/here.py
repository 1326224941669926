"""Dispatch without Ray: one worker, in the process of the test."""

from collections.abc import Callable, Sequence

from fcos_core.errors import IncompleteRunError
from jobs.dispatch.planned_shards import ShardLoader
from jobs.rundir.shard import AnyShard, Failure, Receipt
from jobs.worker.messages import WorkerSettings
from jobs.worker.worker import Worker


def dispatch_here(
    shards: Sequence[AnyShard],
    settings: WorkerSettings,
    *,
    on_receipt: Callable[[Receipt], None],
    on_start: Callable[[], None] = lambda: None,
    **_: object,
) -> None:
    """Stand in for ``dispatch``: shard by shard, without another try."""
    if not shards:
        return
    worker = Worker(settings)
    loader = ShardLoader(settings.run_uri)
    try:
        on_start()
        for shard in shards:
            for outcome in worker.process(loader.load(shard)):
                if isinstance(outcome, Failure):
                    raise IncompleteRunError(outcome.error)
                on_receipt(outcome)
    finally:
        worker.close()
