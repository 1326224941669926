"""A stream reads what ``json.loads`` reads, refuses what it refuses, and holds one entry."""

import json
import tracemalloc
from collections.abc import Collection, Iterator
from itertools import repeat
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fcos_core.errors import AnnotationError
from jobs.annotations import json_text
from jobs.annotations.json_stream import stream_lists

URI = "/data/x.json"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.integers() | st.floats() | st.sampled_from([1e300, -1.5e-10, 10**40])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
lists = st.lists(values, max_size=6)
chunk_sizes = st.integers(1, 64)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an object with the lists a and b somewhere among other members."""
    members = draw(st.dictionaries(texts, values | lists, max_size=3))
    members |= {"a": draw(lists), "b": draw(lists)}
    return {name: members[name] for name in draw(st.permutations(list(members)))}


@st.composite
def encoded(draw: st.DrawFn, document: st.SearchStrategy[Any]) -> bytes:
    """Draw a document and one of the ways to write it."""
    text = json.dumps(
        draw(document), ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.just(1))
    )
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig"])))


@st.composite
def damaged(draw: st.DrawFn, files: st.SearchStrategy[bytes]) -> bytes:
    """Draw a file with up to two bytes gone and one of JSON's own signs in their place."""
    data = draw(files)
    start = draw(st.integers(0, len(data)))
    inserted = draw(st.sampled_from([b"", *(bytes([sign]) for sign in b',:[]{}"\\1-.eE\n')]))
    return data[:start] + inserted + data[start + draw(st.integers(0, 2)) :]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def read(
    data: bytes, chunk_bytes: int = 1 << 20, names: Collection[str] = ("a", "b")
) -> dict[str, list[object]]:
    stream = stream_lists(pieces(data, chunk_bytes), URI, names)
    return {name: list(entries) for name, entries in stream}


@given(encoded(documents()), chunk_sizes)
def test_what_is_read_is_what_the_file_says_in_its_order(data: bytes, chunk_bytes: int):
    whole = json.loads(data.decode("utf-8-sig"))
    expected = {name: whole[name] for name in whole if name in {"a", "b"}}

    got = read(data, chunk_bytes)

    # As text, since NaN is not itself; json writes equal values, and only those, alike.
    assert json.dumps(got) == json.dumps(expected)


@given(damaged(encoded(documents())), chunk_sizes)
@example(b'{"a": [1.5e]}', 1)
@example(b'{"a": "\xc3', 2)
@example(b"\xef\xbb\xbf\xef\xbb\xbf{}", 3)
def test_what_is_accepted_is_what_json_accepts(data: bytes, chunk_bytes: int):
    try:
        is_accepted = isinstance(json.loads(data.decode("utf-8-sig")), dict)
    except ValueError:
        is_accepted = False

    if is_accepted:
        read(data, chunk_bytes, names=())
    else:
        with pytest.raises(AnnotationError, match=r"^/data/x\.json: [^\n]+$"):
            read(data, chunk_bytes, names=())


def test_a_file_cut_anywhere_is_refused():
    data = '{"a": [{"é": [1.5e+10, true, "x\\u00e9"]}, -Infinity], "c": {}, "b": []}'.encode()
    assert read(data)["b"] == []
    for length in range(1, len(data)):
        for chunk_bytes in (1, 1 << 20):
            with pytest.raises(AnnotationError, match="in the middle of") as caught:
                read(data[:length], chunk_bytes)
            assert str(caught.value).endswith(f"after {length} bytes")


@pytest.mark.parametrize("chunk_bytes", [1, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", "is empty, expected an object with a, b", id="empty"),
        pytest.param(b" \n", "is empty, expected an object with a, b", id="white space"),
        pytest.param(b"[" * 200_000, "is a list, expected an object with a, b", id="a list"),
        pytest.param(
            b"not found",
            "is not JSON, or a single value ('n'...), expected an object with a, b",
            id="words",
        ),
        pytest.param(b"\x89PNG\r\n", "is not UTF-8: byte 0x89 at offset 0", id="an image"),
        pytest.param(b'{"a": ["x\xe4y"]}', "is not UTF-8: byte 0xe4 at offset 9", id="latin-1"),
        pytest.param(
            b'{"a": [1, {"id": 2, "n',
            "ends in the middle of a[1], after 22 bytes",
            id="cut in an entry",
        ),
        pytest.param(b'{"a": [1, 2', "ends in the middle of a[1], after 11 bytes", id="cut list"),
        pytest.param(b'{"a": ["\xc3', "ends in the middle of a[0], after 9 bytes", id="half an é"),
        pytest.param(
            b'{"a": [1], "other": [tru',
            "ends in the middle of 'other'[0], after 24 bytes",
            id="cut in a list nobody wants",
        ),
        pytest.param(
            b'{"a": [1], ', "ends in the middle of its outermost object, after 11 bytes", id="cut"
        ),
        pytest.param(
            b'{"a": [1 2]}', "a[0] is not JSON: expected , or ], found '2' (char 9)", id="no comma"
        ),
        pytest.param(
            b'{"a": [0, {"id": 1 "b": 2}, 3, 4, 5, 6, 7, 8, 9]}',
            "a[1] is not JSON: Expecting ',' delimiter (char 19)",
            id="no comma inside",
        ),
        pytest.param(b'{"a": [1,]}', "a[1] is not JSON: Expecting value (char 9)", id="a comma"),
        pytest.param(
            b'{"a": [1], }',
            "its outermost object is not JSON: expected \", found '}' (char 11)",
            id="a last comma",
        ),
        pytest.param(
            b'{"a" [1]}',
            "its outermost object is not JSON: expected :, found '[' (char 5)",
            id="no colon",
        ),
        pytest.param(b'{"a": {"0": 1}, "b": []}', "a is an object, expected a list", id="object"),
        pytest.param(b'{"a": null, "b": []}', "a is None, expected a list", id="null"),
        pytest.param(b'{"a": [], "b": [], "a": []}', "has a twice", id="twice"),
        pytest.param(b'{"a": [], "info": 1}', "has no b; it has 'a', 'info'", id="no b"),
        pytest.param(b"{}", "has no a; it has nothing", id="nothing"),
        pytest.param(
            b'{"a": [], "b": []}\n{"a": []}',
            "goes on behind its outermost value with '{' (char 19)",
            id="JSON lines",
        ),
        pytest.param(
            b'{"a": [], "b": []}\0\0',
            "goes on behind its outermost value with '\\x00' (char 18)",
            id="zeros behind",
        ),
        pytest.param(
            b'{"a": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
            "a[0] is not JSON: nested too deeply (char 7)",
            id="deep",
        ),
        pytest.param(
            b'{"a": ["two\nlines", 1, 2, 3, 4, 5]}',
            "a[0] is not JSON: Invalid control character at (char 11)",
            id="control character",
        ),
    ],
)
def test_what_is_malformed_is_named_in_one_line(data: bytes, expected: str, chunk_bytes: int):
    with pytest.raises(AnnotationError) as caught:
        read(data, chunk_bytes)
    assert str(caught.value) == f"{URI}: {expected}"


def test_an_integer_of_thousands_of_digits_is_refused():
    with pytest.raises(AnnotationError, match=r"a\[1\] is not JSON: Exceeds the limit"):
        read(b'{"a": [1, ' + b"1" * 5_000 + b"]}")


def test_entries_that_nobody_took_are_passed_over():
    data = b'{"a": [1, 2, 3], "b": [4, 5]}'
    firsts = [(name, next(entries)) for name, entries in stream_lists([data], URI, ("b", "a"))]
    assert firsts == [("a", 1), ("b", 4)]


def test_a_large_entry_is_read_in_a_few_attempts(monkeypatch: pytest.MonkeyPatch):
    entry = {"rle": "x" * 1_000_000, "polygon": list(range(10_000))}
    data = json.dumps({"a": [entry, 1], "b": []}).encode()
    attempts: list[int] = []
    decode = json_text._decode

    def counting(text: str, at: int) -> tuple[Any, int]:
        attempts.append(len(text) - at)
        return decode(text, at)

    monkeypatch.setattr(json_text, "_decode", counting)
    assert read(data, chunk_bytes=100)["a"] == [entry, 1]
    assert sum(attempts) < 6 * len(data), "else the time would grow with the square"


def test_memory_does_not_grow_with_the_file():
    entry = json.dumps({"id": 1, "segmentation": [[0.5] * 400]}).encode()  # 2 kB
    num_entries = 600

    def chunks() -> Iterator[bytes]:
        yield b'{"unwanted": [' + entry
        yield from repeat(b"," + entry, num_entries - 1)
        yield b'], "a": [' + entry
        yield from repeat(b"," + entry, num_entries - 1)
        yield b"]}"

    tracemalloc.start()
    try:
        counts = {
            name: sum(1 for _ in entries) for name, entries in stream_lists(chunks(), URI, ("a",))
        }
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert counts == {"a": num_entries}
    assert peak_bytes < 300_000  # one list's text is four times as long
