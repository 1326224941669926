"""``--extend``: add to a run what its inputs have gained since; earlier files stay as they are."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.planning.begin import OpenRun, list_inputs, order_items
from jobs.planning.changes import Changes, compare
from jobs.planning.manifest import Numbering, PlannedItems
from jobs.rundir.fingerprint import fingerprint
from jobs.rundir.manifest.index import Growth
from jobs.rundir.manifest.manifest import Manifest
from jobs.rundir.manifest.writing import Extension, write_manifest
from jobs.settings.detect import DetectConfig
from jobs.waiting import waiting

_log = logging.getLogger(__name__)


def extend_run(run: OpenRun, config: DetectConfig) -> Growth:
    """List the inputs again, and add what is new or changed as further shards of the run.

    The index of the extension is created once: a driver that is killed before has added nothing,
    and of two drivers at once one adds, and the other one finds nothing new.

    Args:
        run: as it was begun; its settings are this command's.
        config: of this command.

    Returns:
        How the inputs differ from the run.
    """
    while True:
        manifest = run.directory.manifest()
        growth, is_done = _extend(run, manifest, config)
        if is_done:
            return growth


def compare_inputs(manifest: Manifest, config: DetectConfig) -> tuple[Growth, int]:
    """List the inputs again and say how they differ from a run; nothing is written.

    Returns:
        The differences, and the number of inputs that are as they were.
    """
    listing = list_inputs(config)
    changes = compare(listing, _current(manifest))
    found = _growth(changes), changes.num_unchanged
    changes.close()
    listing.close()
    return found


@dataclass(frozen=True, kw_only=True)
class PlannedExtension:
    """What an extension would add to a run; nothing is written.

    Attributes:
        growth: how the inputs differ from the run.
        items: what is new or changed, as further items; None where nothing is.
        superseded: the ``SUPERSEDED`` table of the run's items that are changed or gone.
        skipped: number of files that the listing passed over.
        annotations: as of ``RunPlan``.
    """

    growth: Growth
    items: PlannedItems | None
    superseded: pa.Table
    skipped: int
    annotations: str | None


@contextmanager
def planned_extension(
    run: OpenRun, manifest: Manifest, config: DetectConfig
) -> Generator[PlannedExtension]:
    """List the inputs again, and plan what is new or changed.

    Yields:
        The plan, whose items lie in files until the block ends.
    """
    with ExitStack() as stack:
        listing = list_inputs(config)
        stack.callback(listing.close)
        with waiting(lambda: "comparing the inputs with the run"):
            changes = compare(listing, _current(manifest))
        stack.callback(changes.close)
        growth, items = _growth(changes), None
        if growth.num_new or growth.num_changed:
            shard_size: int = run.fields["shard_size"]  # the command may leave it open
            items = PlannedItems(
                order_items(config, changes.added, shard_size=shard_size),
                shard_size,
                has_image_ids=listing.annotations is not None,
                numbering=_numbering(manifest),
            )
            stack.enter_context(items)
        yield PlannedExtension(
            growth=growth,
            items=items,
            superseded=changes.superseded,
            skipped=listing.skipped,
            annotations=listing.annotations,
        )


def _extend(run: OpenRun, manifest: Manifest, config: DetectConfig) -> tuple[Growth, bool]:
    with planned_extension(run, manifest, config) as plan:
        if plan.items is None:
            _log.info("the run has all inputs already: %s", _words(plan.growth))
            return plan.growth, True
        is_added = write_manifest(
            run.directory.uri,
            plan.items.tables(),
            {
                "run_id": manifest.run_id,
                "fingerprint": fingerprint(run.fields),
                "fingerprint_fields": json.dumps(run.fields),
                "skipped": str(plan.skipped),
                "annotations": json.dumps(plan.annotations),
            },
            plan_id=uuid.uuid4().hex,
            before=manifest,
            extension=Extension(
                growth=plan.growth, superseded=_unrecorded(plan.superseded, manifest)
            ),
        )
        if is_added:
            _log.info(
                "the run is extended by %s in %s: %s",
                _counted(plan.items.num_items, "item"),
                _counted(len(plan.items.shards), "shard"),
                _words(plan.growth),
            )
        return plan.growth, is_added


def _unrecorded(superseded: pa.Table, manifest: Manifest) -> pa.Table:
    """Leave out what earlier extensions recorded: else it would be written again by each one."""
    known = manifest.superseded.column("item_id").to_numpy()
    is_replaced = superseded.column("is_replaced").to_numpy()
    is_new = ~np.isin(superseded.column("item_id").to_numpy(), known)
    return superseded.filter(pa.array(is_replaced | is_new))


def _current(manifest: Manifest) -> Iterator[pa.RecordBatch]:
    for _, items in manifest.iterate_tables(is_current=True):
        yield from items.to_batches()


def _growth(changes: Changes) -> Growth:
    return Growth(
        num_new=changes.num_new,
        num_changed=changes.num_changed,
        num_vanished=changes.num_vanished,
    )


def _numbering(manifest: Manifest) -> Numbering:
    shards = manifest.shards
    return Numbering(
        first_item_id=shards.total_items,
        first_shard=int(shards.numbers[-1]) + 1 if len(shards) else 0,
        first_part=len(manifest.parts),
        next_image_id=1 + shards.total_rows,
    )


def _words(growth: Growth) -> str:
    gone = f"{growth.num_vanished} gone" + (" (their rows stay)" if growth.num_vanished else "")
    return f"inputs: {growth.num_new} new, {growth.num_changed} changed, {gone}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
