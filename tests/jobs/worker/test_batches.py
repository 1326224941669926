import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.worker.batches import BatchGrouper


def batches_of(
    sizes: list[tuple[str, int]], *, batch_size: int, held_bytes: int = 10**9
) -> list[list[int]]:
    """Group images given as (shape, bytes), and name each by its index."""
    groups = BatchGrouper[int](batch_size, held_bytes=held_bytes)
    batches: list[list[int]] = []
    for i, (shape, size_bytes) in enumerate(sizes):
        batches += groups.add(shape, i, size_bytes)
    return batches + groups.rest()


@pytest.mark.parametrize(
    ("sizes", "held_bytes", "expected"),
    [
        pytest.param([], 100, [], id="nothing"),
        pytest.param(
            [("a", 1), ("b", 1), ("a", 1), ("b", 1), ("a", 1)],
            100,
            [[0, 2], [1, 3], [4]],
            id="full_groups_as_they_fill",
        ),
        pytest.param(
            [("a", 1), ("b", 1), ("c", 1)], 100, [[0], [1], [2]], id="rest_in_order_begun"
        ),
        pytest.param([("a", 5), ("b", 6)], 11, [[0], [1]], id="limit_reached_is_not_passed"),
        pytest.param([("a", 5), ("b", 7)], 11, [[1], [0]], id="largest_group_goes_first"),
        pytest.param([("a", 6), ("b", 6)], 11, [[0], [1]], id="oldest_of_equal_groups_goes_first"),
        pytest.param(
            [("a", 4), ("b", 4), ("c", 20)],
            5,
            [[0], [2], [1]],
            id="one_above_the_limit_passes",
        ),
    ],
)
def test_groups_leave_in_the_stated_order(
    sizes: list[tuple[str, int]], held_bytes: int, expected: list[list[int]]
) -> None:
    assert batches_of(sizes, batch_size=2, held_bytes=held_bytes) == expected


def test_a_group_flushed_early_begins_anew() -> None:
    sizes = [("a", 10), ("b", 1), ("a", 1), ("a", 1), ("a", 1)]
    assert batches_of(sizes, batch_size=3, held_bytes=10) == [[0], [2, 3, 4], [1]]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50)), max_size=40),
    st.integers(1, 5),
    st.integers(1, 120),
)
def test_every_image_is_in_one_batch_of_its_shape(
    sizes: list[tuple[str, int]], batch_size: int, held_bytes: int
) -> None:
    batches = batches_of(sizes, batch_size=batch_size, held_bytes=held_bytes)
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert batch == sorted(batch)
        assert len({sizes[i][0] for i in batch}) == 1


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 50)), max_size=40),
    st.integers(1, 120),
)
def test_what_waits_never_exceeds_the_limit(sizes: list[tuple[str, int]], held_bytes: int) -> None:
    groups = BatchGrouper[int](4, held_bytes=held_bytes)
    waiting: set[int] = set()
    for i, (shape, size_bytes) in enumerate(sizes):
        waiting.add(i)
        for batch in groups.add(shape, i, size_bytes):
            waiting -= set(batch)
        assert sum(sizes[j][1] for j in waiting) <= held_bytes
