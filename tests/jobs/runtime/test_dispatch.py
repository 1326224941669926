import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from fcos_core.errors import CheckpointError, ConfigError, IncompleteRunError
from jobs.runtime.dispatch import dispatch
from jobs.runtime.messages import Receipt, Shard, WorkerSettings
from jobs.runtime.schedule import Patience
from jobs.tables.digest import RunDigest
from jobs.tables.reading import iterate_rows
from jobs.tables.run_directory import RunDirectory
from tests.jobs.runtime.processes import actors_below
from tests.jobs.runtime.runs import begin_run, worker_settings

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray")]


def digest_of(run: RunDirectory) -> str:
    digest = RunDigest()
    for table in iterate_rows(run):
        digest.update(table)
    return digest.hexdigest()


def compute(
    shards: list[Shard],
    settings: WorkerSettings,
    *,
    num_actors: int = 1,
    patience: Patience | None = None,
    on_receipt: Callable[[Receipt], None] | None = None,
) -> list[Receipt]:
    """Dispatch on the session's Ray, and collect the receipts."""
    receipts: list[Receipt] = []

    def collect(receipt: Receipt) -> None:
        receipts.append(receipt)
        if on_receipt is not None:
            on_receipt(receipt)

    dispatch(
        shards,
        settings,
        num_actors=num_actors,
        address=None,
        on_receipt=collect,
        patience=patience,
    )
    return receipts


@pytest.fixture(scope="module")
def expected(
    ray: ModuleType, tmp_path_factory: pytest.TempPathFactory, pictures: Path, tiny_weights: Path
) -> str:
    """The digest of an undisturbed run with one actor."""
    assert ray.is_initialized()
    run, shards = begin_run(tmp_path_factory.mktemp("runs") / "one", pictures, shard_size=2)
    receipts = compute(shards, worker_settings(run, tiny_weights))
    assert [receipt.shard for receipt in receipts] == list(range(10))
    assert sum(receipt.num_rows for receipt in receipts) == 20
    return digest_of(run)


@pytest.mark.parametrize("num_actors", [1, 2])
def test_rows_do_not_depend_on_order_nor_on_the_number_of_actors(
    tmp_path: Path, pictures: Path, tiny_weights: Path, expected: str, num_actors: int
) -> None:
    run, shards = begin_run(tmp_path / "run", pictures, shard_size=2)
    random.Random(num_actors).shuffle(shards)  # noqa: S311
    receipts = compute(shards, worker_settings(run, tiny_weights), num_actors=num_actors)
    assert sorted(receipt.shard for receipt in receipts) == list(range(10))
    assert digest_of(run) == expected


def test_a_killed_worker_is_replaced_and_changes_no_bit(
    tmp_path: Path, pictures: Path, tiny_weights: Path, expected: str
) -> None:
    run, shards = begin_run(tmp_path / "run", pictures, shard_size=2)
    killed: list[int] = []

    def kill_first(receipt: Receipt) -> None:
        if receipt.shard in {0, 4}:
            pid = actors_below(os.getpid())[0]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    receipts = compute(shards, worker_settings(run, tiny_weights), on_receipt=kill_first)
    assert len(set(killed)) == 2
    assert sorted(receipt.shard for receipt in receipts) == list(range(10))
    assert digest_of(run) == expected


def test_workers_that_keep_dying_end_the_run(
    tmp_path: Path, pictures: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", pictures, shard_size=10)
    over = threading.Event()

    def kill_all() -> None:
        while not over.wait(0.02):
            for pid in actors_below(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        with pytest.raises(IncompleteRunError, match="3 attempts failed in a row, 2 shards"):
            compute(
                shards,
                worker_settings(run, tiny_weights),
                patience=Patience(max_failures_in_a_row=3),
            )
    finally:
        over.set()
        killer.join()


def test_a_late_shard_is_tried_so_often_and_then_named(
    tmp_path: Path, pictures: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", pictures, shard_size=20)
    hasty = Patience(poll_s=0.001, floor_s=0.0, first_row_s=0.0, max_attempts=2)
    with pytest.raises(
        IncompleteRunError,
        match=r"1 shards are missing after 2 attempts each: shard 0: no answer to 'process'",
    ):
        compute(shards, worker_settings(run, tiny_weights), patience=hasty)


def test_a_cluster_without_room_ends_the_run_and_says_what_is_needed(
    tmp_path: Path, pictures: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", pictures, shard_size=20)
    started = time.monotonic()
    with pytest.raises(IncompleteRunError, match=r"needs 64 CPUs and a cpu device.*has \{.*'CPU'"):
        compute(
            shards,
            worker_settings(run, tiny_weights, threads=64),
            patience=Patience(no_progress_s=1.0),
        )
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"device_model": "Abacus 3000"}, ConfigError, "a worker's device is "),
        ({"weights_sha256": "0" * 64}, CheckpointError, "the run's is 000"),
        ({"weights": "/nowhere/at.all"}, ConfigError, "no such file"),
    ],
)
def test_what_a_worker_cannot_work_with_arrives_as_the_same_error(
    tmp_path: Path,
    pictures: Path,
    tiny_weights: Path,
    change: dict[str, str],
    kind: type[Exception],
    message: str,
) -> None:
    run, shards = begin_run(tmp_path / "run", pictures, shard_size=20)
    with pytest.raises(kind) as caught:
        compute(shards, worker_settings(run, tiny_weights, **change))
    assert type(caught.value) is kind
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_to_do_needs_no_cluster(tmp_path: Path, pictures: Path, tiny_weights: Path) -> None:
    run, _ = begin_run(tmp_path / "run", pictures, shard_size=20)
    assert compute([], worker_settings(run, tiny_weights)) == []
