"""Nodes that die, join, or start no worker, on real clusters of three."""

from pathlib import Path
from typing import Any

import pytest

from tests.commands import run_python

pytestmark = pytest.mark.ray


def happened(scenario: str, tmp_path: Path) -> dict[str, Any]:
    return run_python("-m", "tests.jobs.dispatch.on_a_cluster", scenario, tmp_path).result()


@pytest.mark.slow
def test_a_node_that_dies_costs_no_attempt_and_a_new_one_gets_work(tmp_path: Path) -> None:
    found = happened("lose_and_grow", tmp_path)
    assert found["shards"] == list(range(60))  # with max_attempts=1: none was counted
    assert set(found["nodes"]) < set(found["worked"])
    (new,) = set(found["worked"]) - set(found["nodes"])
    assert found["worked"][new] > 1


@pytest.mark.slow
def test_a_node_that_is_drained_costs_no_attempt(tmp_path: Path) -> None:
    found = happened("drain", tmp_path)
    assert found["shards"] == list(range(60))
    assert set(found["nodes"]) == set(found["worked"])


@pytest.mark.slow
def test_a_node_on_which_nothing_starts_is_left_out(tmp_path: Path) -> None:
    found = happened("bad_node", tmp_path)
    assert found["shards"] == list(range(60))
    assert set(found["worked"]) == {found["nodes"][1]}
