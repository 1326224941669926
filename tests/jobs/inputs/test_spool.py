"""Rows in memory or on disk: the same rows, whatever the limit; sorted as Python sorts."""

import gc
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos_core.errors import ConfigError
from jobs.inputs.external_sort import external_sort
from jobs.inputs.seen_uris import SeenUris
from jobs.inputs.spool import Spool, TemporaryFolder, rebatched

ROWS = pa.schema([pa.field("key", pa.binary()), pa.field("number", pa.int64())])
KEYS = st.lists(st.lists(st.binary(max_size=2), max_size=9), max_size=9)
LIMITS = st.integers(1, 12)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def batch(keys: list[bytes], start: int = 0) -> pa.RecordBatch:
    numbers = range(start, start + len(keys))
    return pa.RecordBatch.from_arrays(
        [pa.array(keys, pa.binary()), pa.array(numbers, pa.int64())], schema=ROWS
    )


def batches(groups: list[list[bytes]]) -> list[pa.RecordBatch]:
    starts = [sum(map(len, groups[:i])) for i in range(len(groups))]
    return [batch(keys, start) for keys, start in zip(groups, starts, strict=True)]


def rows(spool: Spool) -> list[tuple[bytes, int]]:
    return [tuple(row.values()) for some in spool.batches() for row in some.to_pylist()]


def expected_rows(groups: list[list[bytes]]) -> list[tuple[bytes, int]]:
    keys = [key for group in groups for key in group]
    return [(key, number) for number, key in enumerate(keys)]


@given(groups=KEYS, limit=LIMITS)
def test_a_spool_gives_its_rows_again_and_again(groups: list[list[bytes]], limit: int) -> None:
    spool = Spool(ROWS, memory_rows=limit)
    for one in batches(groups):
        spool.append(one)
    assert len(spool) == len(expected_rows(groups))
    for _ in range(2):
        assert rows(spool) == expected_rows(groups)
    assert spool.is_on_disk or len(spool) <= limit


@given(groups=KEYS, limits=st.lists(LIMITS, min_size=9, max_size=9), limit=LIMITS)
def test_a_spool_takes_over_others_in_order(
    groups: list[list[bytes]], limits: list[int], limit: int
) -> None:
    whole = Spool(ROWS, memory_rows=limit)
    for one, other_limit in zip(batches(groups), limits, strict=False):
        other = Spool(ROWS, whole.folder, memory_rows=other_limit)
        for part in rebatched(iter([one]), 2):
            other.append(part)
        whole.take_over(other)
        assert len(other) == 0
    assert rows(whole) == expected_rows(groups)
    assert len(whole) == len(expected_rows(groups))


def test_rows_may_follow_after_some_were_read() -> None:
    spool = Spool(ROWS, memory_rows=1)
    spool.append(batch([b"a", b"b"]))
    assert len(rows(spool)) == 2
    spool.append(batch([b"c", b"d"], 2))
    spool.append(batch([b"e"], 4))
    assert rows(spool) == [(b"a", 0), (b"b", 1), (b"c", 2), (b"d", 3), (b"e", 4)]


def test_files_go_when_a_spool_is_closed_or_forgotten(tmp_path: Path) -> None:
    for is_closed in (True, False):
        spool = Spool(ROWS, memory_rows=0)
        spool.append(batch([b"a"]))
        (folder,) = tmp_path.iterdir()
        assert len(list(folder.iterdir())) == 1
        if is_closed:
            spool.close()
            assert len(spool) == 0
            assert list(folder.iterdir()) == []
            spool.folder.close()
        del spool
        gc.collect()
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_that_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TemporaryFolder, "new_file", lambda _: "/dev/full")
    spool = Spool(ROWS, memory_rows=0)
    with pytest.raises(ConfigError, match=rf"'{tmp_path}' cannot hold .*: .*No space.*TMPDIR"):
        spool.append(batch([bytes(2**20)]))
    seen = SeenUris(TemporaryFolder(), memory_rows=1)
    with pytest.raises(ConfigError, match=r"No space left on device.*TMPDIR"):
        seen.add(["a"])


def test_a_temporary_folder_that_cannot_be_made_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"gone' cannot hold .*TMPDIR"):
        Spool(ROWS, memory_rows=0).append(batch([b"a"]))


@pytest.mark.long
@given(groups=KEYS, limit=LIMITS, fan_in=st.integers(2, 4))
def test_rows_are_sorted_as_python_sorts_them(
    groups: list[list[bytes]], limit: int, fan_in: int
) -> None:
    result = external_sort(batches(groups), ROWS, ["key"], memory_rows=limit, fan_in=fan_in)
    assert rows(result) == sorted(expected_rows(groups), key=lambda row: row[0])


@pytest.mark.long
@given(groups=KEYS, limit=LIMITS, fan_in=st.integers(2, 4))
def test_rows_are_sorted_by_several_columns(
    groups: list[list[bytes]], limit: int, fan_in: int
) -> None:
    schema = pa.schema([*ROWS, pa.field("length", pa.int32())])
    wider = [
        pa.RecordBatch.from_arrays(
            [*one.columns, pa.array([len(key) for key in one[0].to_pylist()], pa.int32())],
            schema=schema,
        )
        for one in batches(groups)
    ]
    by = ["length", "key"]
    result = external_sort(wider, schema, by, memory_rows=limit, fan_in=fan_in)
    found = [row[:2] for row in rows(result)]
    assert found == sorted(expected_rows(groups), key=lambda row: (len(row[0]), row[0]))


@given(groups=st.lists(st.lists(st.integers(0, 40), max_size=9), max_size=20), limit=LIMITS)
def test_a_uri_is_old_when_it_was_there_before(groups: list[list[int]], limit: int) -> None:
    seen, before = SeenUris(TemporaryFolder(), memory_rows=limit), set[int]()
    for numbers in groups:
        expected: list[bool] = []
        for number in numbers:
            expected.append(number in before)
            before.add(number)
        assert seen.add([f"s3://bucket/{number}" for number in numbers]).tolist() == expected


@given(limit=LIMITS)
def test_uris_whose_digests_begin_alike_are_told_apart(limit: int) -> None:
    def digest(uri: str) -> bytes:
        return int(uri).to_bytes(16)

    numbers = [*range(30), *range(40)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jobs.inputs.seen_uris._digest", digest)
        seen = SeenUris(TemporaryFolder(), memory_rows=limit)
        is_old = [bool(seen.add([str(number)])[0]) for number in numbers]
    assert is_old == [False] * 30 + [True] * 30 + [False] * 10


def test_merged_runs_hold_each_digest_once_and_sorted() -> None:
    seen = SeenUris(TemporaryFolder(), memory_rows=7)
    for start in range(0, 1000, 10):
        seen.add([f"/{number}.jpg" for number in range(start, start + 10)] * 2)
    lengths = [len(run.firsts) for run in seen._runs]
    assert sum(lengths) + len(seen._newest) == 1000
    assert len(lengths) <= 12
    assert all(bool(np.all(np.diff(run.firsts.astype(object)) > 0)) for run in seen._runs)
    assert seen.add([f"/{number}.jpg" for number in range(1001)]).sum() == 1000
