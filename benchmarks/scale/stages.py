"""The stages of a large run, each a command of its own: ``stages.py plan|dispatch|prove RUN N``.

Everything is what ``fcos detect`` and ``fcos verify`` run, except that the worker only answers:
each image gets two detections without being read. The last line on stdout is JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from scale.no_model import settings_without_a_model

from jobs.dispatch.dispatch import dispatch
from jobs.dispatch.planned_shards import PlannedShards
from jobs.inputs.sources import enumerate_inputs
from jobs.planning.manifest import PlannedItems
from jobs.planning.ordered_items import OrderedItems
from jobs.rundir.directory import RunDirectory
from jobs.rundir.manifest.writing import write_manifest
from jobs.rundir.proof import prove
from jobs.rundir.rows import ManifestItem, Row
from jobs.rundir.shard import Outcome, Receipt, Shard
from jobs.worker.messages import WorkerSettings
from jobs.worker.shard_committer import FinishedShard, ShardCommitter

RUN_ID = "simulated"
SHARD_SIZE = 256
_BOXES = [[10.0, 20.0, 110.0, 220.0], [5.5, 6.5, 50.25, 60.75]]
_SCORES = [0.75, 0.5]
_CATEGORY_IDS = [1, 18]
_NAMES = {1: "person", 18: "dog"}


class Answers:
    """A worker that reads no image, and commits real files; it stands in for ``Worker``."""

    def __init__(self, settings: WorkerSettings) -> None:
        run = RunDirectory(settings.run_uri)
        self._committer = ShardCommitter(run, settings.run_id, category_names=_NAMES)

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Outcome]:
        """Answer for every image of a shard."""
        started = time.monotonic()
        rows = [_row(item) for item in shard.items]
        finished = FinishedShard(
            shard=shard.number,
            rows=rows,
            num_rows=shard.num_rows,
            seconds=max(1e-6, time.monotonic() - started),
            device="none",
            digest_class="exact",
        )
        outcomes = self._committer.submit(finished)
        return outcomes if upcoming is not None else [*outcomes, *self.finish()]

    def finish(self) -> list[Outcome]:
        """Wait for the last file."""
        return self._committer.wait()

    def warm_up(self) -> None:
        """Do nothing: there is no model."""

    def run_trial(self, item: ManifestItem) -> None:
        """Do nothing: no item is a suspect."""


def _row(item: ManifestItem) -> Row:
    return Row.ok(
        item_id=item.item_id,
        image_id=item.image_id,
        uri=item.uri,
        width=640,
        height=480,
        boxes=_BOXES,
        scores=_SCORES,
        category_ids=_CATEGORY_IDS,
    )


def plan(run: RunDirectory) -> dict[str, Any]:
    """List the bucket, and write the manifest."""
    started = time.process_time()
    listing = enumerate_inputs(["s3://bucket/images/"])
    listed = time.process_time()
    items = OrderedItems(listing.items, lambda _: {})
    listing.close()
    with PlannedItems(items, SHARD_SIZE) as planned:
        metadata = {"run_id": RUN_ID, "fingerprint": "0"}
        assert write_manifest(run.uri, planned.tables(), metadata, plan_id="0" * 32)
        num_items = planned.num_items
    return {
        "items": num_items,
        "list_cpu_s": listed - started,
        "manifest_cpu_s": time.process_time() - listed,
    }


def hand_out(run: RunDirectory) -> dict[str, Any]:
    """Dispatch all shards to two actors."""
    receipts: list[int] = []

    def on_receipt(receipt: Receipt) -> None:
        receipts.append(receipt.num_items)

    dispatch(
        PlannedShards(run.manifest().shards),
        settings_without_a_model(run.uri, RUN_ID),
        num_actors=2,
        address=None,
        on_receipt=on_receipt,
        make_worker=Answers,
    )
    return {"items": sum(receipts), "driver_cpu_s": time.process_time()}


def check(run: RunDirectory) -> dict[str, Any]:
    """Prove the run in one process."""
    proof = prove(run)
    # No ``run.json`` was written: it is the only problem that there may be.
    assert proof.num_problems == 1, proof.problems[:3]
    assert "run.json" in proof.problems[0]
    return {"items": proof.items_ok}


def main() -> None:
    """Run one stage."""
    stage, out = sys.argv[1:3]
    # The actors import this file by its name.
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    import stages

    run = RunDirectory(out)
    done = {"plan": stages.plan, "dispatch": stages.hand_out, "prove": stages.check}[stage](run)
    print(json.dumps(done))


if __name__ == "__main__":
    main()
