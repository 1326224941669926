"""A driver on a Ray cluster of several nodes, of which one dies and one joins during the run.

``python -m tests.jobs.dispatch.on_a_cluster SCENARIO`` prints what happened as a line of JSON. It
is a process of its own, since a process has one connection to Ray, and its cluster dies with it.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_enable_metrics_collection": "0"}

from ray.cluster_utils import Cluster

from jobs.dispatch.dispatch import dispatch
from jobs.dispatch.schedule import RetryLimits
from jobs.rundir.shard import Receipt, Shard
from tests.jobs.dispatch.scripted_workers import NeverStartsOnOneNode, Sleeper, shard_of
from tests.jobs.worker.runs import settings_without_a_model

NUM_SHARDS = 60
STORE_BYTES = 80 * 2**20
QUICK_CHECKS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 5,
}


class Slow(Sleeper):
    """Takes a while, and leaves a file named after the shard, the node and the process."""

    REST_S = 0.3

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Any]:
        import ray

        node = ray.get_runtime_context().get_node_id()
        (Path(self.settings.run_uri) / f"{shard.number}-{node}-{os.getpid()}").touch()
        return super().process(shard, upcoming)


class SlowOrNeverStarts(Slow):
    """Does not start on one node, whose id is in a file."""

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        NeverStartsOnOneNode(settings)


def main(scenario: str, notes: Path) -> None:
    """Run 60 shards on two nodes of one CPU each, beside the head, and disturb them."""
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_system_config": QUICK_CHECKS,
        },
    )
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
    receipts: list[int] = []
    happened: dict[str, Any] = {}

    def kill(number: signal.Signals) -> None:
        process = nodes[0].all_processes["raylet"][0].process
        os.kill(process.pid, number)

    def disturb_at(count: int, disturb: Callable[[], object]) -> None:
        if len(receipts) == count:
            disturb()

    def on_receipt(receipt: Receipt) -> None:
        receipts.append(receipt.shard)
        if scenario == "lose_and_grow":
            disturb_at(5, lambda: kill(signal.SIGKILL))
            disturb_at(15, lambda: cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES))
        elif scenario == "drain":
            disturb_at(5, lambda: kill(signal.SIGTERM))

    began = time.monotonic()
    if scenario == "bad_node":
        (notes / "bad").write_text(nodes[0].node_id)
    (notes / "work").mkdir()
    dispatch(
        [shard_of(number, "a") for number in range(NUM_SHARDS)],
        settings_without_a_model(run_uri=str(notes / "work")),
        num_actors=None,
        address=cluster.address,
        on_receipt=on_receipt,
        limits=RetryLimits(max_attempts=1, floor_s=60.0, no_progress_s=120.0),
        make_worker=SlowOrNeverStarts if scenario == "bad_node" else Slow,
    )
    where = [note.name.split("-")[1] for note in (notes / "work").iterdir()]
    happened |= {
        "shards": sorted(receipts),
        "seconds": time.monotonic() - began,
        "nodes": [node.node_id for node in nodes],
        "worked": {node: where.count(node) for node in where},
    }
    sys.stdout.write(f"{json.dumps(happened)}\n")
    sys.stdout.flush()
    for node in [*cluster.worker_nodes]:
        cluster.remove_node(node, allow_graceful=False)
    cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
