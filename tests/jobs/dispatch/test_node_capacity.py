"""Workers that fit on nodes, without Ray; ``test_nodes.py`` has real clusters."""

from types import SimpleNamespace
from typing import Any

import pytest

from jobs.dispatch.node_capacity import NodeCapacity
from tests.jobs.worker.runs import settings_without_a_model


def node(name: str, *, cpus: float, is_alive: bool = True) -> dict[str, Any]:
    return {"NodeID": name, "Alive": is_alive, "Resources": {"CPU": cpus}}


def capacity_of(*nodes: dict[str, Any], num_actors: int | None = None) -> NodeCapacity:
    ray: Any = SimpleNamespace(nodes=lambda: list(nodes))
    return NodeCapacity(ray, settings_without_a_model(threads=2), num_actors)


@pytest.mark.parametrize(
    ("nodes", "num_actors", "expected"),
    [
        pytest.param([node("a", cpus=5), node("b", cpus=2)], None, 3, id="all_that_fit"),
        pytest.param([node("a", cpus=1)], None, 1, id="one_at_least"),
        pytest.param([node("a", cpus=9, is_alive=False)], None, 1, id="a_dead_node_has_none"),
        pytest.param([node("a", cpus=9)], 7, 7, id="a_fixed_number"),
    ],
)
def test_there_are_as_many_actors_as_fit_unless_their_number_is_fixed(
    nodes: list[dict[str, Any]], num_actors: int | None, expected: int
) -> None:
    assert capacity_of(*nodes, num_actors=num_actors).num_actors() == expected


def test_a_node_is_left_out_after_three_failed_starts_in_a_row() -> None:
    capacity = capacity_of(node("a", cpus=2), node("b", cpus=2))
    for has_succeeded in (False, False, True, False, False):
        capacity.record_start("a", has_succeeded=has_succeeded)
        assert capacity.label_selector() is None
    capacity.record_start("a", has_succeeded=False)
    assert capacity.label_selector() == {"ray.io/node-id": "!in(a)"}


def test_no_node_is_left_out_while_no_other_node_has_capacity() -> None:
    capacity = capacity_of(node("a", cpus=2), node("b", cpus=1))
    for _ in range(3):
        capacity.record_start("a", has_succeeded=False)
    assert capacity.label_selector() is None


def test_a_node_that_is_not_known_yet_counts_as_alive() -> None:
    capacity = capacity_of(node("a", cpus=2), node("b", cpus=2, is_alive=False))
    assert [capacity.is_alive(name) for name in (None, "a", "b", "c")] == [True, True, False, False]
