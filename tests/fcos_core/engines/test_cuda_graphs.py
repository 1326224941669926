"""The bounded set of graphs. Recording needs a GPU; who is dropped when does not."""

import pytest
import torch

from fcos_core.engines.cuda import CudaEngine
from fcos_core.engines.cuda_graphs import LeastRecentlyUsed
from tests.fcos_core.models import small_model


def test_oldest_use_is_dropped_first() -> None:
    made: list[str] = []
    kept = LeastRecentlyUsed[str, str](2)

    def get(key: str) -> str:
        return kept.get(key, lambda: made.append(key) or key.upper())

    assert [get(key) for key in "abacab"] == list("ABACAB")
    # The second "a" makes "b" the oldest: "c" takes its place, and then "b" that of "c".
    assert made == list("abcb")
    assert len(kept) == 2


def test_place_is_free_before_a_value_is_made() -> None:
    kept = LeastRecentlyUsed[int, int](1)
    kept.get(1, lambda: 1)

    assert kept.get(2, lambda: len(kept)) == 0


def test_failed_making_leaves_no_value() -> None:
    kept = LeastRecentlyUsed[int, int](2)
    with pytest.raises(ZeroDivisionError):
        kept.get(1, lambda: 1 // 0)

    assert len(kept) == 0
    assert kept.get(1, lambda: 5) == 5


def test_cleared_values_are_made_again() -> None:
    kept = LeastRecentlyUsed[int, int](2)
    kept.get(1, lambda: 1)
    kept.clear()

    assert kept.get(1, lambda: 2) == 2


def test_engine_keeps_few_shapes() -> None:
    engine = CudaEngine(small_model(), torch.device("cpu"), "fp32", max_graphs=2)
    for width in (64, 96, 128, 64):
        outputs = engine(torch.zeros((1, 3, 64, width)))
        assert outputs.level_shapes[0] == (8, width // 8)

    assert len(engine._runs) == 2
    engine.free_memory()
    assert len(engine._runs) == 0
