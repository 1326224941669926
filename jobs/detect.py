"""Looks at every image of a dataset once: inputs in, a proved table of detections out."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from fcos_core.errors import ConfigError, IncompleteRunError, StorageError
from jobs.dispatch.dispatch import dispatch
from jobs.parallel.devices import Resources
from jobs.parallel.resources import probe
from jobs.parallel.signals import environment, terminate_as_interrupt
from jobs.planning.begin import Draft, OpenRun, begin, check_is_free, check_same, draw_up, reopen
from jobs.planning.defaults import DEVICE_MODEL, Fields, asked, resolve_num_actors
from jobs.planning.run_json import record
from jobs.progress import ProgressReport
from jobs.rundir.directory import RunDirectory
from jobs.rundir.events import EventLog
from jobs.rundir.proof import Proof, prove
from jobs.rundir.retries import LaterAttempt, plan_attempt
from jobs.rundir.rows import ManifestItem
from jobs.rundir.shard import Receipt, Shard
from jobs.rundir.summary import DetectResult, Plan, incompleteness
from jobs.rundir.video_pace import VideoPace
from jobs.settings.detect import DetectConfig
from jobs.settings.max_bad import MaxBad
from jobs.storage import absolute, storage_for
from jobs.storage.weights import ResolvedWeights, resolve_weights
from jobs.worker.messages import WorkerSettings

__all__ = ["DetectConfig", "DetectResult", "Plan", "run"]

_log = logging.getLogger(__name__)

_NAMED_WEIGHTS = {"coco", "demo"}


def run(
    config: DetectConfig, *, check: Callable[[Draft], None] | None = None
) -> DetectResult | Plan:
    """Do what is left of a run: all of it the first time, nothing once it is complete.

    A run is begun by writing its manifest, which from then on says what is to be done. The same
    command again goes on where the last one ended, however it ended; with other settings it is
    refused. At the end every shard is read again and the run is proved complete. What was
    quarantined before is tried again only when asked.

    Args:
        config: see there.
        check: is shown a run before it is begun, and raises what speaks against it.

    Returns:
        What the run came to, its ``failure`` set when it is incomplete or has too many bad
        images; for a dry run the plan.
    """
    started = time.monotonic()
    with terminate_as_interrupt(), environment(config.storage_environment()):
        weights = resolve_weights(config.weights)
        directory = RunDirectory(config.out)
        resources = None
        draft = None
        if not directory.exists():
            _require_something_to_retry(config)
            draft = draw_up(config, weights)
            if check is not None:
                check(draft)
        if not config.dry_run:
            storage_for(directory.uri).check_create(directory.uri)
        if draft is not None:
            resources = draft.resources
            if config.dry_run:
                check_is_free(directory)
                return _plan(config, draft.items, draft.fields, resources, skipped=draft.skipped)
            begin(directory, draft)
        opened = reopen(directory)
        check_same(opened, {**asked(config), "weights_sha256": weights.sha256})
        again = plan_attempt(directory) if config.retry_quarantined else None
        if config.dry_run:
            return _plan_of_rest(config, opened, again)
        with _begun(directory):
            record(opened, config, weights)
            pace = VideoPace()
            num_rows, failure = _compute_rest(config, opened, weights, resources, pace)
            retried = None
            if again is not None and failure is None:
                num_more, failure = _compute(
                    config, opened, weights, resources, again.shards, pace, attempt=again.number
                )
                num_rows += num_more
                retried = again.result()
            proof = prove(directory)
        return DetectResult(
            run=directory.uri,
            proof=proof,
            skipped=opened.skipped,
            seconds=time.monotonic() - started,
            num_rows=num_rows,
            failure=failure or _unmended(proof) or _too_bad(proof, config.max_bad),
            retried=retried,
            pace=pace,
        )


@contextmanager
def _begun(directory: RunDirectory) -> Generator[None]:
    """From here on something was started: storage that fails leaves an incomplete run.

    Raises:
        IncompleteRunError: an object could not be read or written.
    """
    try:
        yield
    except StorageError as error:
        raise IncompleteRunError(
            f"{error}; {directory.uri!r} is incomplete, the same command goes on from here"
        ) from error


def _unmended(proof: Proof) -> str | None:
    """Say what is wrong with a run whose shards all have a file, and how that is put right."""
    problem = incompleteness(proof)
    return problem and (
        f"{problem}; delete each file that `fcos verify` names, then the same command computes "
        "what is missing"
    )


def _compute_rest(
    config: DetectConfig,
    opened: OpenRun,
    weights: ResolvedWeights,
    resources: Resources | None,
    pace: VideoPace,
) -> tuple[int, str | None]:
    """Compute what is not committed yet; say how many rows that gave, and why not all of them."""
    shards, committed = opened.shards(), opened.committed()
    missing = [shard for shard in shards if shard.number not in committed]
    num_done = _num_rows(shards) - _num_rows(missing)
    return _compute(config, opened, weights, resources, missing, pace, num_rows_done=num_done)


def _compute(
    config: DetectConfig,
    opened: OpenRun,
    weights: ResolvedWeights,
    resources: Resources | None,
    shards: Sequence[Shard],
    pace: VideoPace,
    *,
    attempt: int | None = None,
    num_rows_done: int = 0,
) -> tuple[int, str | None]:
    """Compute shards, or what a later attempt takes of them."""
    if not shards:
        return 0, None
    resources = resources or probe(config.address)
    check_same(
        opened,
        {DEVICE_MODEL: resources.device_model},
        allow_mixed_devices=config.allow_mixed_devices,
    )
    settings = _worker_settings(config, opened, weights, resources, attempt)
    num_actors = resolve_num_actors(config.num_actors, resources, settings.threads)
    _log.info(
        "%s: %d shards to do, %d workers with %d threads each on %s, batch size %d, %s",
        opened.directory.uri,
        len(shards),
        num_actors,
        settings.threads,
        resources.device_model,
        settings.batch_size,
        settings.precision,
    )
    about = {"shards": len(shards), "workers": num_actors, "attempt": attempt}
    items = {shard.number: shard.items for shard in shards}
    changed: list[int] = []
    with (
        EventLog(opened.directory, **about) as events,
        ProgressReport(num_rows_done + _num_rows(shards), num_rows_done) as progress,
    ):

        def on_receipt(receipt: Receipt) -> None:
            events.shard(receipt)
            if receipt.created:
                pace.add(items[receipt.shard], receipt.seconds)
            progress.add(rows=receipt.num_rows, quarantined=receipt.num_quarantined)
            changed.extend(receipt.changed_items)

        try:
            dispatch(
                shards,
                settings,
                # On a cluster auto means: what it has room for, also when nodes come and go.
                num_actors=None if config.address and config.num_actors == "auto" else num_actors,
                address=config.address,
                on_receipt=on_receipt,
            )
        except IncompleteRunError as error:
            return progress.pace.num_new, str(error)
        finally:
            if changed:
                _log.info(
                    "%d of the recovered items have changed since they were listed", len(changed)
                )
        return progress.pace.num_new, None


def _worker_settings(
    config: DetectConfig,
    opened: OpenRun,
    weights: ResolvedWeights,
    resources: Resources,
    attempt: int | None,
) -> WorkerSettings:
    fields, name = opened.fields, weights.spec
    return WorkerSettings(
        run_uri=opened.directory.uri,
        run_id=opened.run_id,
        weights=name if name in _NAMED_WEIGHTS else absolute(name),
        weights_sha256=weights.sha256,
        device=resources.device,
        device_model=fields[DEVICE_MODEL],
        allow_mixed_devices=config.allow_mixed_devices,
        precision=fields["precision"],
        engine=fields["engine"],
        batch_size=fields["batch_size"],
        threads=fields["threads_per_actor"],
        score_threshold=fields["score_threshold"],
        max_pixels=fields["max_pixels"],
        bytes_in_flight=config.bytes_in_flight,
        attempt=attempt,
    )


def _require_something_to_retry(config: DetectConfig) -> None:
    """Refuse to begin a run for an option that is about one which is there.

    Raises:
        ConfigError: the option is given.
    """
    if config.retry_quarantined:
        raise ConfigError(f"--retry-quarantined: there is no run at {config.out!r} to retry in")


def _plan_of_rest(config: DetectConfig, opened: OpenRun, again: LaterAttempt | None) -> Plan:
    return _plan(
        config,
        opened.directory.read_manifest(),
        opened.fields,
        probe(config.address),
        skipped=opened.skipped,
        num_shards_done=len(opened.committed()),
        num_items_to_retry=0 if again is None else again.num_items,
    )


def _plan(
    config: DetectConfig,
    items: Sequence[ManifestItem],
    fields: Fields,
    resources: Resources,
    *,
    skipped: int,
    num_shards_done: int = 0,
    num_items_to_retry: int = 0,
) -> Plan:
    sizes = Counter(
        "unknown" if item.width is None else f"{item.width}x{item.height}" for item in items
    )
    return Plan(
        run=absolute(config.out),
        num_items=len(items),
        num_shards=len({item.shard for item in items}),
        num_shards_done=num_shards_done,
        skipped=skipped,
        sizes=dict(sizes.most_common()),
        num_actors=resolve_num_actors(config.num_actors, resources, fields["threads_per_actor"]),
        device=resources.device,
        fields=fields,
        num_items_to_retry=num_items_to_retry,
    )


def _num_rows(shards: Sequence[Shard]) -> int:
    return sum(item.num_frames or 1 for shard in shards for item in shard.items)


def _too_bad(proof: Proof, max_bad: str | None) -> str | None:
    """Say why a complete run is no success all the same."""
    if proof.planned and not proof.ok:
        return f"no image could be used: all {proof.quarantined} rows are quarantined"
    if max_bad is not None:
        limit = MaxBad.parse(max_bad).num_rows(proof.planned)
        if proof.quarantined > limit:
            return (
                f"{proof.quarantined} of {proof.planned} rows are quarantined, "
                f"--max-bad {max_bad} allows {limit}"
            )
    return None
