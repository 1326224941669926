"""How many workers fit on a cluster's nodes, and which nodes are left out since nothing starts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from jobs.worker.messages import WorkerSettings

_REFRESH_S = 5.0
_MAX_FAILED_STARTS = 3  # in a row; a node on which nothing starts is free, and would get all actors
_NODE_LABEL = "ray.io/node-id"


class NodeCapacity:
    """The capacity of a cluster for the workers of one run.

    Where ``num_actors`` is None, as many as fit, which changes with the nodes.
    """

    def __init__(self, ray: ModuleType, settings: WorkerSettings, num_actors: int | None) -> None:
        self._ray = ray
        self._needs = {"CPU": settings.threads, "GPU": 1 if settings.device == "cuda" else 0}
        self._num_actors = num_actors
        self._num_fitting = 1
        self._refreshed_at = float("-inf")
        self._failed_starts = Counter[str]()

    def num_actors(self) -> int:
        if self._num_actors is not None:
            return self._num_actors
        if time.monotonic() - self._refreshed_at > _REFRESH_S:
            self._num_fitting = max(1, sum(self._fitting(node) for node in self._alive()))
            self._refreshed_at = time.monotonic()
        return self._num_fitting

    def is_alive(self, node_id: str | None) -> bool:
        """Return whether a node is alive; None, a node that is not known yet, counts as alive."""
        return node_id is None or any(node["NodeID"] == node_id for node in self._alive())

    def record_start(self, node_id: str | None, *, has_succeeded: bool) -> None:
        if node_id is None:
            return
        if has_succeeded:
            self._failed_starts.pop(node_id, None)
        else:
            self._failed_starts[node_id] += 1

    def label_selector(self) -> dict[str, str] | None:
        """Return the labels by which Ray leaves out nodes on which no worker starts.

        None when there is no such node, or when no other node has capacity.
        """
        left_out = {node for node, num in self._failed_starts.items() if num >= _MAX_FAILED_STARTS}
        if not left_out:
            return None
        others = [node for node in self._alive() if node["NodeID"] not in left_out]
        if not any(self._fitting(node) for node in others):
            return None
        return {_NODE_LABEL: f"!in({','.join(sorted(left_out))})"}

    def describe(self) -> str:
        """Say what a worker needs and what the cluster has."""
        device = "cuda" if self._needs["GPU"] else "cpu"
        return (
            f"a worker needs {self._needs['CPU']} CPUs and a {device} device, the cluster has "
            f"{self._ray.cluster_resources()}"
        )

    def describe_room(self) -> str:
        """Say in few words what a worker needs, what the cluster has and what of it is free."""
        needs = {name: amount for name, amount in self._needs.items() if amount}
        total, free = self._ray.cluster_resources(), self._ray.available_resources()
        room = " and ".join(
            f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s" for name in needs
        )
        text = f"each needs {_amounts(needs)}, free are {room}"
        if not any(self._fitting(node) for node in self._alive()):
            text += ", and no node is large enough"
        return text

    def _alive(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _fitting(self, node: dict[str, Any]) -> int:
        """Return how many workers fit on a node."""
        return min(
            int(node["Resources"].get(name, 0) // amount)
            for name, amount in self._needs.items()
            if amount
        )


def _amounts(needs: Mapping[str, int]) -> str:
    return " and ".join(
        f"{amount} {name}{'' if amount == 1 else 's'}" for name, amount in needs.items()
    )
