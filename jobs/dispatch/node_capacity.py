"""Where a cluster has room for workers: how many, on which nodes, and on which rather not."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# Ray has no types

from __future__ import annotations

import time
from collections import Counter
from types import ModuleType
from typing import Any

from jobs.worker.messages import WorkerSettings

_LOOK_EVERY_S = 5.0
_BAD_STARTS = 3  # in a row; a node on which nothing starts always has room, and would get everybody
_NODE_LABEL = "ray.io/node-id"


class Room:
    """What a cluster has for the workers of one run.

    Args:
        ray: the module, connected.
        settings: of the workers.
        num_actors: how many there are to be; None for as many as the cluster has room for, which
            changes with its nodes.
    """

    def __init__(self, ray: ModuleType, settings: WorkerSettings, num_actors: int | None) -> None:
        self._ray = ray
        self._needs = {"CPU": settings.threads, "GPU": 1 if settings.device == "cuda" else 0}
        self._num_actors = num_actors
        self._seen = 1
        self._looked = float("-inf")
        self._bad_starts = Counter[str]()

    def num_actors(self) -> int:
        """How many workers there may be now."""
        if self._num_actors is not None:
            return self._num_actors
        if time.monotonic() - self._looked > _LOOK_EVERY_S:
            self._seen = max(1, sum(self._fitting(node) for node in self._alive()))
            self._looked = time.monotonic()
        return self._seen

    def is_alive(self, node_id: str | None) -> bool:
        """Whether a node is there; one that nobody knows yet is."""
        return node_id is None or any(node["NodeID"] == node_id for node in self._alive())

    def note_start(self, node_id: str | None, *, is_good: bool) -> None:
        """Remember whether a worker could load its model on a node."""
        if node_id is None:
            return
        if is_good:
            self._bad_starts.pop(node_id, None)
        else:
            self._bad_starts[node_id] += 1

    def selector(self) -> dict[str, str] | None:
        """The label by which Ray leaves out nodes on which nothing starts, if others are left."""
        bad = {node_id for node_id, count in self._bad_starts.items() if count >= _BAD_STARTS}
        others = [node for node in self._alive() if node["NodeID"] not in bad] if bad else []
        if not any(self._fitting(node) for node in others):
            return None
        return {_NODE_LABEL: f"!in({','.join(sorted(bad))})"}

    def describe(self) -> str:
        """Say what is needed and what there is."""
        device = "cuda" if self._needs["GPU"] else "cpu"
        return (
            f"a worker needs {self._needs['CPU']} CPUs and a {device} device, the cluster has "
            f"{self._ray.cluster_resources()}"
        )

    def _alive(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _fitting(self, node: dict[str, Any]) -> int:
        """How many workers fit on a node."""
        return min(
            int(node["Resources"].get(name, 0) // amount)
            for name, amount in self._needs.items()
            if amount
        )
