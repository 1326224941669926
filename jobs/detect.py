"""Look at every image of a dataset once: inputs in, a proved table of detections out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache

from fcos_core.errors import IncompleteRunError, StorageError
from jobs.dispatch.dispatch import dispatch
from jobs.dispatch.planned_shards import PlannedShards
from jobs.inputs.video_pace import VideoPace
from jobs.parallel.guard import RayLostError
from jobs.parallel.ray_session import ray_kept_open
from jobs.parallel.resources import Resources, probe
from jobs.parallel.signals import environment, terminate_as_interrupt
from jobs.planning.begin import (
    OpenRun,
    RunPlan,
    begin_run,
    choose_shards,
    plan_run,
    reopen_run,
    require_free,
    require_no_retry,
    require_safe_commits,
    require_same_fields,
    require_same_place,
    require_writable,
)
from jobs.planning.defaults import (
    DEVICE_MODEL,
    LIBRARIES,
    NUMERICS,
    explicit_fields,
    resolve_num_actors,
)
from jobs.planning.detect_result import DetectResult, damage, too_many_quarantined
from jobs.planning.dry_run import DryRun, dry_run
from jobs.planning.extend import extend_run
from jobs.planning.model_card import ModelCard, read_model_card
from jobs.planning.new_files import NewFiles
from jobs.planning.run_json import write_run_json
from jobs.progress import ProgressReport
from jobs.rundir.directory import RunDirectory
from jobs.rundir.events import EventLog
from jobs.rundir.manifest.index import Growth
from jobs.rundir.proof import prove
from jobs.rundir.retries import plan_retry
from jobs.rundir.shard import AnyShard, Receipt
from jobs.settings.detect import DetectConfig
from jobs.waiting import waiting
from jobs.worker.messages import WorkerSettings

__all__ = ["DetectConfig", "DetectResult", "DryRun", "run"]

_log = logging.getLogger(__name__)


def run(
    config: DetectConfig,
    *,
    model: ModelCard | None = None,
    check: Callable[[RunPlan], None] = lambda _: None,
) -> DetectResult | DryRun:
    """Begin a run and complete it, or complete the run that exists.

    A run begins with its manifest, which from then on says what is to be done. The same command
    again continues where the last one ended, however it ended; a command with other settings is
    refused. At the end every shard is read again, and the run is proved complete. Quarantined
    items are tried again only with ``retry_quarantined``.

    Args:
        config: the user's settings.
        model: the card of ``config.weights``, where the caller has read it.
        check: gets the plan of a new run before it begins, and raises what speaks against it.

    Returns:
        The result, whose ``failure`` is set when the run is incomplete or has too many quarantined
        rows; for a dry run what the command would do.

    Raises:
        IncompleteRunError: the run was begun, and storage or Ray has failed since.
    """
    started = time.monotonic()
    with terminate_as_interrupt(), environment(config.storage_environment()), ray_kept_open():
        with waiting(lambda: f"reading the weights {config.weights!r}"):
            model = model or read_model_card(config.weights)
        if config.dry_run:
            return dry_run(config, model, check)
        directory = RunDirectory(config.out)
        # Probed only when a run begins or shards are missing.
        work = _Work(config, directory, model, cache(lambda: probe(config.address)))
        plan = retry = retried = None
        if directory.exists():
            require_safe_commits(directory)
            work.reopen()
            if config.extend:
                work.extend()
            if config.retry_quarantined:
                retry = plan_retry(directory, numbers=config.shard_numbers())
        else:
            plan = _plan(config, directory, model, work.resources, check)
        with _resumable(work), ExitStack() as planned:
            if plan is not None:
                planned.enter_context(plan.planned)
            failure = work.compute_missing() if plan is None else work.begin(plan)
            if retry is not None and failure is None:
                failure = work.compute(work.run, retry.shards, attempt=retry.number)
                retried = retry.result()
            with waiting(lambda: "reading every shard again, to prove the run complete"):
                proof = prove(
                    directory,
                    numbers=config.shard_numbers(),
                    num_workers="auto",
                    address=config.address,
                )
        return DetectResult(
            run=directory.uri,
            proof=proof,
            skipped=work.run.skipped,
            seconds=time.monotonic() - started,
            num_rows=work.num_rows,
            failure=failure or damage(proof) or too_many_quarantined(proof, config.max_bad),
            retried=retried,
            growth=work.growth,
            pace=work.pace,
        )


def _plan(
    config: DetectConfig,
    directory: RunDirectory,
    model: ModelCard,
    resources: Callable[[], Resources],
    check: Callable[[RunPlan], None],
) -> RunPlan:
    """Plan a new run, and refuse at once what would be refused when it begins."""
    require_no_retry(config)
    plan = plan_run(config, model, resources)
    check(plan)
    require_free(directory)
    require_writable(directory)
    require_safe_commits(directory)
    chosen = plan.fields["engine"], plan.fields["precision"]
    _log.info("engine %s in %s: %s", *chosen, plan.engine_reason)
    return plan


class _BegunByAnotherError(Exception):
    """Another driver has begun the run meanwhile, and its plan counts."""


@dataclass
class _Work:
    """What this command computes of a run, and how fast; ``opened`` is None until it is begun."""

    config: DetectConfig
    directory: RunDirectory
    model: ModelCard
    resources: Callable[[], Resources]
    opened: OpenRun | None = None
    num_rows: int = 0
    num_changed: int = 0
    growth: Growth | None = None
    pace: VideoPace = field(default_factory=VideoPace)

    @property
    def run(self) -> OpenRun:
        assert self.opened is not None
        return self.opened

    def reopen(self) -> None:
        """Take up the run that exists, with the settings of this command."""
        opened = reopen_run(self.directory)
        fixed = {**explicit_fields(self.config), "weights_sha256": self.model.sha256}
        require_same_fields(opened, fixed)
        self.opened = opened

    def extend(self) -> None:
        """Add what the inputs have gained, if this place could compute it."""
        self._require_same_place(self.run)
        self.growth = extend_run(self.run, self.config)
        self.reopen()

    def begin(self, plan: RunPlan) -> str | None:
        """Begin a run as soon as a worker has loaded the model, and compute its shards.

        So nothing is written for weights or a device that no worker can use.

        Returns:
            As of ``compute``.
        """

        def begin() -> None:
            begin_run(self.directory, plan)
            self.reopen()
            if self.run.run_id != plan.run_id:
                raise _BegunByAnotherError
            write_run_json(self.run, self.config, self.model)

        try:
            return self.compute(
                plan, PlannedShards(choose_shards(self.config, plan.shards())), on_start=begin
            )
        except _BegunByAnotherError:
            if self.config.extend:
                self.extend()
            return self.compute_missing()

    def compute_missing(self) -> str | None:
        """Compute the shards that are not committed; say why some of them are still missing."""
        write_run_json(self.run, self.config, self.model)
        table = choose_shards(self.config, self.run.shards())
        is_committed = self.run.is_committed(table)
        num_rows_done = table.select(is_committed).total_rows
        missing = PlannedShards(table.select(~is_committed))
        new_files = self._new_files()
        failure = self.compute(self.run, missing, num_rows_done=num_rows_done)
        said = new_files and new_files.describe()
        if said:
            _log.warning("%s", said)
        return failure

    def _new_files(self) -> NewFiles | None:
        """Begin to look for new files, where a listing could find any."""
        config = self.config
        if config.extend or config.limit is not None or config.shards is not None:
            return None
        return NewFiles(self.run.manifest, config.inputs)

    def compute(
        self,
        run: RunPlan | OpenRun,
        shards: Sequence[AnyShard],
        *,
        attempt: int | None = None,
        num_rows_done: int = 0,
        on_start: Callable[[], None] = lambda: None,
    ) -> str | None:
        """Compute shards, or those of their items that the retry ``attempt`` takes.

        ``on_start`` is called once a worker has loaded the model, and before any shard is computed.

        Returns:
            Why some of the shards are missing; None when all are committed.

        Raises:
            RayLostError: the command's own Ray has died, and so nothing is known of the shards.
        """  # noqa: DOC501 -- IncompleteRunError passes through where no run is begun
        if not shards:
            return None
        config = self.config
        if self.opened is not None:
            self._require_same_place(self.opened)
        settings = self._worker_settings(run, attempt)
        num_actors = resolve_num_actors(config.num_actors, self.resources(), settings.threads)
        self._announce(len(shards), num_actors, settings)
        about = {"shards": len(shards), "workers": num_actors, "attempt": attempt}
        events = EventLog(self.directory, **about)
        with (
            ExitStack() as begun,
            ProgressReport(num_rows_done + _num_rows(shards), num_rows_done) as progress,
        ):

            def begin() -> None:
                on_start()
                begun.enter_context(events)  # it writes into the run's directory

            def on_receipt(receipt: Receipt) -> None:
                events.shard(receipt)
                progress.add(rows=receipt.num_rows, quarantined=receipt.num_quarantined)
                self._count(receipt)

            try:
                dispatch(
                    shards,
                    settings,
                    # On a cluster, auto follows its nodes as they come and go.
                    num_actors=None
                    if config.address and config.num_actors == "auto"
                    else num_actors,
                    address=config.address,
                    on_receipt=on_receipt,
                    on_waits=progress.show_waits,
                    on_start=begin,
                )
            except RayLostError:
                raise
            except IncompleteRunError as error:
                if self.opened is None:
                    raise
                return str(error)
            finally:
                if self.num_changed:
                    _log.info(
                        "%d of the recovered items %s changed since they were listed",
                        self.num_changed,
                        "has" if self.num_changed == 1 else "have",
                    )
        return None

    def _require_same_place(self, run: OpenRun) -> None:
        require_same_place(
            run,
            self.resources(),
            allow_mixed_devices=self.config.allow_mixed_devices,
            allow_version_change=self.config.allow_version_change,
        )

    def _announce(self, num_shards: int, num_actors: int, settings: WorkerSettings) -> None:
        _log.info(
            "%s: %s to do, %s with %d threads each on %s, batch size %d, engine %s in %s",
            self.directory.uri,
            "1 shard" if num_shards == 1 else f"{num_shards} shards",
            "1 worker" if num_actors == 1 else f"{num_actors} workers",
            settings.threads,
            self.resources().device_model,
            settings.batch_size,
            settings.engine,
            settings.precision,
        )

    def _count(self, receipt: Receipt) -> None:
        self.num_rows += receipt.num_rows
        self.num_changed += len(receipt.changed_items)
        if receipt.created:
            self.pace.add(receipt.video_frames, receipt.num_rows, receipt.seconds)

    def _worker_settings(self, run: RunPlan | OpenRun, attempt: int | None) -> WorkerSettings:
        config, fields = self.config, run.fields
        return WorkerSettings(
            run_uri=self.directory.uri,
            run_id=run.run_id,
            weights=self.model.uri,
            weights_sha256=self.model.sha256,
            device=self.resources().device,
            device_model=fields[DEVICE_MODEL],
            libraries=fields.get(LIBRARIES) or {},
            allow_mixed_devices=config.allow_mixed_devices,
            numerics_version=fields[NUMERICS],
            allow_version_change=config.allow_version_change,
            precision=fields["precision"],
            engine=fields["engine"],
            batch_size=fields["batch_size"],
            threads=fields["threads_per_actor"],
            score_threshold=fields["score_threshold"],
            max_pixels=fields["max_pixels"],
            bytes_in_flight=config.bytes_in_flight,
            attempt=attempt,
        )


@contextmanager
def _resumable(work: _Work) -> Generator[None]:
    # Where something was begun and storage fails from then on, the run is incomplete.
    try:
        yield
    except StorageError as error:
        if work.opened is None:
            raise
        raise IncompleteRunError(
            f"{error}; {work.directory.uri!r} is incomplete, the same command goes on from here"
        ) from error


def _num_rows(shards: Sequence[AnyShard]) -> int:
    if isinstance(shards, PlannedShards):
        return shards.num_rows
    return sum(shard.num_rows for shard in shards)
