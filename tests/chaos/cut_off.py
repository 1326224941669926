"""A driver on two nodes, of which the network loses the second.

``python -m tests.chaos.cut_off HERE THERE NOTES MENDED_S`` runs in the first namespace, where the
cluster's head is, and prints what happened as a line of JSON.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

from jobs.dispatch.dispatch import dispatch
from jobs.dispatch.schedule import RetryLimits
from jobs.rundir.shard import Receipt
from tests.chaos import networks
from tests.jobs.dispatch.on_a_cluster import Slow
from tests.jobs.dispatch.scripted_workers import shard_of
from tests.jobs.worker.runs import settings_without_a_model

NUM_SHARDS = 60
PORT = 6379
CUT_AT = 10  # shards done by then


def main(cable: networks.Cable, notes: Path, mended_s: float) -> None:
    """Run 60 shards on both nodes, and cut the cable while the second node works."""
    receipts: list[int] = []
    cut_at: list[float] = []
    longest_s = [0.0]
    last = [time.monotonic()]

    def on_receipt(receipt: Receipt) -> None:
        now = time.monotonic()
        if cut_at:
            longest_s[0] = max(longest_s[0], now - last[0])
        last[0] = now
        receipts.append(receipt.shard)
        if not cut_at and len(receipts) >= CUT_AT and len(nodes_in(notes)) == 2:
            cable.cut()
            cut_at.append(now)
            if mended_s:
                threading.Timer(mended_s, cable.mend).start()

    dispatch(
        [shard_of(number, "a") for number in range(NUM_SHARDS)],
        settings_without_a_model(run_uri=str(notes)),
        num_actors=None,
        address=f"{networks.HERE}:{PORT}",
        on_receipt=on_receipt,
        limits=RetryLimits(max_attempts=1, floor_s=60.0, no_progress_s=120.0),
        make_worker=Slow,
    )
    found = {
        "shards": sorted(receipts),
        "nodes": len(nodes_in(notes)),
        "was_cut": bool(cut_at),
        "longest_pause_s": longest_s[0],
    }
    sys.stdout.write(f"{json.dumps(found)}\n")
    sys.stdout.flush()
    os._exit(0)


def nodes_in(notes: Path) -> set[str]:
    """Ids of the nodes on which shards were computed."""
    return {note.name.split("-")[1] for note in notes.iterdir()}


if __name__ == "__main__":
    main(networks.Cable(sys.argv[1], sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
