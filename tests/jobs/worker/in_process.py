"""A worker in the process of the test, and the comparison of its rows."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import numpy as np

import jobs.worker.worker as worker_module
from fcos_core.errors import StorageError
from jobs.rundir.rows import ManifestItem, Row
from jobs.worker.messages import WorkerSettings
from jobs.worker.worker import Worker


@contextmanager
def worker_with(settings: WorkerSettings) -> Generator[Worker]:
    """A worker that is closed at the end of the block."""
    worker = Worker(settings)
    yield worker
    worker.close()


def same(one: Sequence[Row], other: Sequence[Row]) -> bool:
    """Say whether rows are equal bit for bit."""

    def key(row: Row) -> tuple[object, ...]:
        plain = {k: v for k, v in vars(row).items() if not isinstance(v, np.ndarray)}
        return (
            *plain.items(),
            row.boxes.tobytes(),
            row.scores.tobytes(),
            row.category_ids.tobytes(),
        )

    return [key(row) for row in one] == [key(row) for row in other]


def failing_fetch(uri_part: str) -> Callable[[ManifestItem], bytes]:
    """A reader of items that fails for some uris, as storage does."""
    fetch = worker_module.read_item_bytes

    def fetch_or_fail(item: ManifestItem) -> bytes:
        if uri_part in item.uri:
            raise StorageError(f"{item.uri}: 503 SlowDown")
        return fetch(item)

    return fetch_or_fail
