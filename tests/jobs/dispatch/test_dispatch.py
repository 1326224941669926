import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from fcos_core.config import EngineName
from fcos_core.errors import CheckpointError, ConfigError, IncompleteRunError
from jobs.dispatch.actor import make_detector
from jobs.dispatch.dispatch import dispatch
from jobs.dispatch.schedule import RetryLimits
from jobs.rundir.digest import RowsDigest
from jobs.rundir.directory import RunDirectory
from jobs.rundir.shard import Receipt, Shard
from jobs.rundir.shard_reading import iterate_rows
from jobs.worker.messages import MakeWorker, WorkerSettings
from tests.fcos_core.engines.installed import CPU_ENGINES
from tests.jobs.conftest import NUM_CPUS
from tests.jobs.dispatch.scripted_workers import (
    MakesArrays,
    NeverStarts,
    RefusedByStorage,
    Scripted,
    Sleeper,
    shard_of,
)
from tests.jobs.worker.runs import begin_run, settings_without_a_model, worker_settings
from tests.processes import actors_below

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray")]


def digest_of(run: RunDirectory) -> str:
    digest = RowsDigest()
    for table in iterate_rows(run):
        digest.update(table)
    return digest.hexdigest()


def compute(
    shards: list[Shard],
    settings: WorkerSettings,
    *,
    num_actors: int = 1,
    limits: RetryLimits | None = None,
    on_receipt: Callable[[Receipt], None] | None = None,
    on_waits: Callable[[Mapping[str, Callable[[], str]]], None] = lambda _: None,
    on_start: Callable[[], None] = lambda: None,
    make_worker: MakeWorker = make_detector,
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
        on_waits=on_waits,
        on_start=on_start,
        limits=limits,
        make_worker=make_worker,
    )
    return receipts


@contextlib.contextmanager
def ending_all_actors(number: signal.Signals, *, every_s: float) -> Generator[None]:
    """Send a signal to all workers, again and again."""
    is_over = threading.Event()

    def end_all() -> None:
        while not is_over.wait(every_s):
            for pid in actors_below(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    ender = threading.Thread(target=end_all)
    ender.start()
    try:
        yield
    finally:
        is_over.set()
        ender.join()


@pytest.fixture(
    scope="module",
    # auto takes the last one
    params=[
        *(pytest.param(name, marks=pytest.mark.slow) for name in CPU_ENGINES[:-1]),
        CPU_ENGINES[-1],
    ],
)
def engine(request: pytest.FixtureRequest) -> EngineName:
    """Each engine that is installed."""
    return request.param


@pytest.fixture(scope="module")
def expected(
    ray: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
    images: Path,
    tiny_weights: Path,
    engine: EngineName,
) -> str:
    """The digest of an undisturbed run with one actor."""
    assert ray.is_initialized()
    run, shards = begin_run(tmp_path_factory.mktemp("runs") / "one", images, shard_size=2)
    receipts = compute(shards, worker_settings(run, tiny_weights, engine=engine))
    assert [receipt.shard for receipt in receipts] == list(range(10))
    assert sum(receipt.num_rows for receipt in receipts) == 20
    return digest_of(run)


def test_rows_do_not_depend_on_order_nor_on_the_number_of_actors(
    tmp_path: Path, images: Path, tiny_weights: Path, engine: EngineName, expected: str
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=2)
    random.Random(2).shuffle(shards)  # noqa: S311
    receipts = compute(shards, worker_settings(run, tiny_weights, engine=engine), num_actors=2)
    assert sorted(receipt.shard for receipt in receipts) == list(range(10))
    assert digest_of(run) == expected


def test_a_killed_worker_is_replaced_and_changes_no_bit(
    tmp_path: Path, images: Path, tiny_weights: Path, engine: EngineName, expected: str
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=2)
    killed: list[int] = []

    def kill_first(receipt: Receipt) -> None:
        if receipt.shard in {0, 4}:
            pid = actors_below(os.getpid())[0]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    settings = worker_settings(run, tiny_weights, engine=engine)
    receipts = compute(shards, settings, on_receipt=kill_first)
    assert len(set(killed)) == 2
    assert sorted(receipt.shard for receipt in receipts) == list(range(10))
    assert digest_of(run) == expected


def test_workers_that_keep_dying_end_the_run(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=10)
    with (
        ending_all_actors(signal.SIGKILL, every_s=0.02),
        pytest.raises(IncompleteRunError, match="3 attempts failed in a row, 2 shards"),
    ):
        compute(
            shards,
            worker_settings(run, tiny_weights),
            limits=RetryLimits(max_failures_in_a_row=3),
        )


def test_a_shard_that_is_late_is_retried_and_then_named(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=20)
    hasty = RetryLimits(poll_s=0.001, floor_s=0.0, first_row_s=0.0, max_attempts=2)
    with pytest.raises(
        IncompleteRunError,
        match=r"1 shard is missing after 2 attempts each: shard 0: no answer to 'process'",
    ):
        compute(shards, worker_settings(run, tiny_weights), limits=hasty)


def test_a_cluster_without_capacity_ends_the_run_and_says_what_is_needed(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=20)
    started = time.monotonic()
    waits: list[str] = []
    with pytest.raises(IncompleteRunError, match=r"needs 64 CPUs and a cpu device.*has \{.*'CPU'"):
        compute(
            shards,
            worker_settings(run, tiny_weights, threads=64),
            limits=RetryLimits(no_progress_s=1.0),
            on_waits=lambda states: waits.extend(describe() for describe in states.values()),
        )
    assert time.monotonic() - started < 30
    assert waits[0] == (
        "1 worker waiting for a place: each needs 64 CPUs, free are 4 of 4 CPUs, and no node is "
        "large enough"
    )


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"device_model": "Abacus 3000"}, ConfigError, "a worker's device is "),
        ({"weights_sha256": "0" * 64}, CheckpointError, "the run's is 000"),
    ],
)
def test_an_error_of_a_workers_start_arrives_unchanged(
    tmp_path: Path,
    images: Path,
    tiny_weights: Path,
    change: dict[str, str],
    kind: type[Exception],
    message: str,
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=20)
    with pytest.raises(kind) as caught:
        compute(shards, worker_settings(run, tiny_weights, **change))
    assert type(caught.value) is kind
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_worker_does_not_import_pandas_for_its_tables(tmp_path: Path) -> None:
    shards = [shard_of(0, str(tmp_path / "without"))]
    assert len(compute(shards, settings_without_a_model(), make_worker=MakesArrays)) == 1
    assert (tmp_path / "without").exists()


def test_the_first_worker_is_ready_before_anything_is_computed(tmp_path: Path) -> None:
    shards = [shard_of(n, f"exit unless {tmp_path / str(n)}") for n in range(3)]
    seen: list[object] = []

    def note() -> None:
        time.sleep(1.0)  # in which no worker may take a shard
        seen.append(list(tmp_path.iterdir()))

    receipts = compute(
        shards,
        settings_without_a_model(),
        num_actors=2,
        on_receipt=seen.append,
        on_start=note,
        make_worker=Scripted,
    )
    assert seen[0] == []
    assert len(seen) == 1 + len(receipts)
    assert len(receipts) == len(list(tmp_path.iterdir())) == 3


def test_an_error_before_the_first_shard_ends_the_dispatch(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ConfigError("the run cannot be begun")

    shards = [shard_of(0, f"exit unless {tmp_path / 'taken'}")]
    with pytest.raises(ConfigError, match="cannot be begun"):
        compute(shards, settings_without_a_model(), on_start=refuse, make_worker=Scripted)
    assert not list(tmp_path.iterdir())


def test_a_dispatch_whose_workers_never_start_does_not_begin() -> None:
    begun: list[bool] = []
    with pytest.raises(IncompleteRunError, match="attempts failed in a row, 1 shard is missing"):
        compute(
            [shard_of(0, "a")],
            settings_without_a_model(),
            limits=RetryLimits(max_failures_in_a_row=2),
            on_start=lambda: begun.append(True),
            make_worker=NeverStarts,
        )
    assert not begun


def test_nothing_to_do_needs_no_cluster(tmp_path: Path, images: Path, tiny_weights: Path) -> None:
    run, _ = begin_run(tmp_path / "run", images, shard_size=20)
    assert compute([], worker_settings(run, tiny_weights)) == []


def test_items_that_kill_their_worker_are_quarantined_and_no_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shards = [shard_of(0, *"abc"), shard_of(1, "a", "exit", "c", "exit"), shard_of(2, *"abc")]
    receipts = compute(shards, settings_without_a_model(), make_worker=Scripted)
    assert {receipt.shard: receipt.num_quarantined for receipt in receipts} == {0: 0, 1: 2, 2: 0}
    named = [record.message for record in caplog.records if "quarantined" in record.message]
    assert [message.partition(":")[0] for message in named] == [
        "item 101 of shard 1 is quarantined",
        "item 103 of shard 1 is quarantined",
    ]


def test_a_worker_that_is_stopped_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    stopped: list[int] = []
    of_others = set(actors_below(os.getpid()))  # of an earlier test, which are still ending

    def stop(_: Receipt) -> None:
        if not stopped:
            (pid,) = set(actors_below(os.getpid())) - of_others
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)

    receipts = compute(
        [shard_of(number, "a") for number in range(4)],
        settings_without_a_model(threads=NUM_CPUS),  # no second one fits beside it
        limits=RetryLimits(floor_s=4.0, first_row_s=0.0, multiple=0.0),
        make_worker=Sleeper,
        on_receipt=stop,
    )
    assert sorted(receipt.shard for receipt in receipts) == [0, 1, 2, 3]
    assert "no answer to 'process' within 4 s" in caplog.text
    assert stopped


def test_a_device_that_no_worker_can_use_ends_the_run_with_its_error() -> None:
    with pytest.raises(
        IncompleteRunError,
        match=r"3 attempts failed in a row, 2 shards are missing \(0, 1\).*no kernel image",
    ):
        compute(
            [shard_of(0, "a"), shard_of(1, "a")],
            settings_without_a_model(),
            limits=RetryLimits(max_failures_in_a_row=3),
            make_worker=NeverStarts,
        )


def test_a_shard_that_storage_refuses_is_named() -> None:
    with pytest.raises(
        IncompleteRunError, match="1 shard is missing after 2 attempts each: shard 7: 503"
    ):
        compute(
            [shard_of(7, "a")],
            settings_without_a_model(),
            limits=RetryLimits(max_attempts=2),
            make_worker=RefusedByStorage,
        )


def test_a_run_without_progress_ends_and_names_its_shards() -> None:
    """Workers that others end are not counted: only the time limit ends the run."""
    with (
        ending_all_actors(signal.SIGTERM, every_s=0.05),
        pytest.raises(IncompleteRunError, match=r"no shard was done .* \(3, 4\): a worker"),
    ):
        compute(
            [shard_of(3, "hang"), shard_of(4, "hang")],
            settings_without_a_model(),
            limits=RetryLimits(
                no_progress_s=8.0,
                start_s=1.0,
                floor_s=1.0,
                first_row_s=0.0,
                # A worker that dies before it reports the SIGTERM counts as dead by itself.
                max_attempts=1000,
                max_failures_in_a_row=1000,
                max_deaths=1000,
            ),
            make_worker=Scripted,
        )
