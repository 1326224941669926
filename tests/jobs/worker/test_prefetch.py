import random
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos_core.errors import ImageError, StorageError
from jobs.rundir.rows import ManifestItem
from jobs.worker.prefetch import Prefetcher
from jobs.worker.prefetched import LoadedImage

BYTES = 12_000


def image(height: int, width: int) -> bytes:
    encoded, data = cv2.imencode(".png", np.full((height, width, 3), 7, np.uint8))
    assert encoded
    return data.tobytes()


def item(item_id: int, size_bytes: int | None = None) -> ManifestItem:
    return ManifestItem(
        item_id=item_id,
        shard=0,
        kind="image",
        uri=f"/images/{item_id}.png",
        image_id=item_id + 1,
        size_bytes=size_bytes,
    )


@contextmanager
def prefetcher_of(
    fetch: Callable[[ManifestItem], bytes], *, bytes_in_flight: int = BYTES
) -> Generator[Prefetcher]:
    prefetcher = Prefetcher(
        fetch,
        bytes_in_flight=bytes_in_flight,
        max_pixels=10_000,
        fetch_threads=4,
        decode_threads=3,
    )
    yield prefetcher
    prefetcher.close()


def ids(loaded: Sequence[LoadedImage]) -> list[int]:
    return [one.item.item_id for one in loaded]


@settings(max_examples=40)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=25),
    cut=st.integers(0, 25),
    are_sizes_known=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_items_arrive_in_order_and_within_the_budget(
    shapes: list[tuple[int, int]], cut: int, *, are_sizes_known: bool, seed: int
) -> None:
    images = [image(*shape) for shape in shapes]
    items = [item(i, len(data) if are_sizes_known else None) for i, data in enumerate(images)]
    delays = random.Random(seed)  # noqa: S311

    def fetch(wanted: ManifestItem) -> bytes:
        time.sleep(delays.random() / 1000)
        return images[wanted.item_id]

    with prefetcher_of(fetch) as prefetcher:
        current, upcoming = prefetcher.prefetch(items[:cut]), prefetcher.prefetch(items[cut:])
        loaded = [*current, *upcoming]
        assert prefetcher.encoded.used_bytes == prefetcher.decoded.used_bytes == 0
        largest = max((height * width * 3 for height, width in shapes), default=0)
        assert prefetcher.decoded.peak_bytes <= max(BYTES * 3 // 4, largest)
        if are_sizes_known:
            assert prefetcher.encoded.peak_bytes <= max(BYTES // 4, *map(len, images), 0)
    assert ids(loaded) == list(range(len(items)))
    assert [one.pixels.shape[:2] for one in loaded if one.pixels is not None] == shapes


def test_an_item_larger_than_the_whole_budget_is_admitted() -> None:
    large, small = image(100, 100), image(2, 2)
    with prefetcher_of(lambda i: large if i.item_id == 1 else small) as prefetcher:
        loaded = list(prefetcher.prefetch([item(i, len(large)) for i in range(3)]))
    assert [one.pixels.nbytes for one in loaded if one.pixels is not None] == [12, 30_000, 12]


def test_nothing_is_prefetched_beyond_the_budget_while_none_is_used() -> None:
    fetched: list[int] = []
    data = image(30, 40)  # 3600 bytes decoded: two fit into three quarters of the budget
    num_encoded = BYTES // 4 // len(data)

    def fetch(wanted: ManifestItem) -> bytes:
        fetched.append(wanted.item_id)
        return data

    with prefetcher_of(fetch) as prefetcher:
        prefetched = prefetcher.prefetch([item(i, len(data)) for i in range(200)])
        time.sleep(0.3)
        assert len(fetched) <= 2 + num_encoded
        assert prefetcher.decoded.used_bytes == 7200
        assert ids(list(prefetched)) == list(range(200))


def test_the_next_items_are_prefetched_while_the_first_are_used() -> None:
    is_next_fetched = threading.Event()
    data = image(4, 4)

    def fetch(wanted: ManifestItem) -> bytes:
        if wanted.item_id == 5:
            is_next_fetched.set()
        return data

    with prefetcher_of(fetch) as prefetcher:
        current, upcoming = prefetcher.prefetch([item(0)]), prefetcher.prefetch([item(5)])
        assert ids(list(current)) == [0]
        assert is_next_fetched.wait(10)
        assert ids(list(upcoming)) == [5]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"no image at all", "no image", id="text"),
        pytest.param(image(40, 40)[:-200], "", id="cut_short"),
        pytest.param(image(101, 100), "limit 10000", id="too_many_pixels"),
    ],
)
def test_an_image_that_cannot_be_decoded_arrives_with_its_reason(data: bytes, reason: str) -> None:
    good = image(3, 5)
    with prefetcher_of(lambda i: data if i.item_id == 1 else good) as prefetcher:
        first, bad, last = prefetcher.prefetch([item(i) for i in range(3)])
        assert prefetcher.encoded.used_bytes == prefetcher.decoded.used_bytes == 0
    assert bad.pixels is None
    assert isinstance(bad.error, ImageError)
    assert "/images/1.png" in str(bad.error)
    assert reason in str(bad.error)
    assert first.pixels is not None
    assert last.pixels is not None


def test_an_item_that_cannot_be_fetched_arrives_with_its_reason() -> None:
    def fetch(wanted: ManifestItem) -> bytes:
        raise ImageError(f"{wanted.uri}: no such file")

    with prefetcher_of(fetch) as prefetcher:
        (loaded,) = prefetcher.prefetch([item(0)])
    assert str(loaded.error) == "/images/0.png: no such file"


@pytest.mark.parametrize("error", [StorageError("503"), RuntimeError("a bug")])
def test_other_errors_are_raised_in_their_place_and_affect_no_later_item(error: Exception) -> None:
    data = image(3, 5)

    def fetch(wanted: ManifestItem) -> bytes:
        if wanted.item_id == 2:
            raise error
        return data

    with prefetcher_of(fetch) as prefetcher:
        current, upcoming = (
            prefetcher.prefetch([item(i) for i in range(5)]),
            prefetcher.prefetch([item(9)]),
        )
        arriving = iter(current)
        assert ids([next(arriving), next(arriving)]) == [0, 1]
        with pytest.raises(type(error), match=str(error)):
            next(arriving)
        current.close()
        assert ids(list(upcoming)) == [9]
        assert prefetcher.encoded.used_bytes == prefetcher.decoded.used_bytes == 0


def test_closing_gives_bytes_back_and_admits_the_next_items() -> None:
    data = image(60, 60)
    with prefetcher_of(lambda _: data) as prefetcher:
        unwanted, wanted = (
            prefetcher.prefetch([item(i) for i in range(20)]),
            prefetcher.prefetch([item(50)]),
        )
        unwanted.close()
        assert ids(list(wanted)) == [50]
        assert prefetcher.encoded.used_bytes == prefetcher.decoded.used_bytes == 0


def test_a_prefetcher_can_be_closed_while_its_budget_is_used_up() -> None:
    data = image(60, 60)
    before = threading.active_count()
    with prefetcher_of(lambda _: data) as prefetcher:
        prefetcher.prefetch([item(i) for i in range(20)])
        prefetcher.prefetch([item(i) for i in range(20, 40)])
    assert threading.active_count() == before
