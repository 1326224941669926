"""Nodes that die, come, or are no good, on real clusters of three."""

from pathlib import Path
from typing import Any

import pytest

from tests.commands import run_python

pytestmark = pytest.mark.ray


def happened(scenario: str, tmp_path: Path) -> dict[str, Any]:
    return run_python("-m", "tests.jobs.dispatch.on_a_cluster", scenario, tmp_path).result()


@pytest.mark.slow
def test_a_node_that_dies_costs_no_attempt_and_a_new_one_gets_work(tmp_path: Path) -> None:
    told = happened("lose_and_grow", tmp_path)
    assert told["shards"] == list(range(60))  # with max_attempts=1: none was counted
    assert set(told["nodes"]) < set(told["worked"])
    (new,) = set(told["worked"]) - set(told["nodes"])
    assert told["worked"][new] > 1


@pytest.mark.slow
def test_a_node_that_is_told_to_end_costs_no_attempt(tmp_path: Path) -> None:
    told = happened("drain", tmp_path)
    assert told["shards"] == list(range(60))
    assert set(told["nodes"]) == set(told["worked"])


@pytest.mark.slow
def test_a_node_on_which_nothing_starts_is_left_out(tmp_path: Path) -> None:
    told = happened("bad_node", tmp_path)
    assert told["shards"] == list(range(60))
    assert set(told["worked"]) == {told["nodes"][1]}
