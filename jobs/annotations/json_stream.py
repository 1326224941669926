"""The lists of a JSON file entry by entry, for annotation files larger than memory."""

import reprlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import cast

from fcos_core.errors import AnnotationError
from jobs.annotations.json_text import JsonText

_MAX_NAMES = 8
_KINDS = {"[": "a list", "{": "an object", '"': "a string", "": "empty"}


def stream_lists(
    chunks: Iterable[bytes], uri: str, names: Collection[str]
) -> Iterator[tuple[str, Iterator[object]]]:
    """Read the named lists of a JSON object, in the file's order; each must be there once.

    In memory are a few chunks and one entry; members that are not named are read and dropped. The
    whole file is checked to be JSON, as ``json.loads`` does: ``NaN`` is a number, and of two equal
    keys in an entry the later counts.

    Yields:
        Each list's name and its entries. As with ``itertools.groupby``, take the entries before
        the next list: entries that are left then are dropped.

    Raises:
        AnnotationError: the file is not such an object; the line names the place.
    """
    text = JsonText(chunks, uri)
    _require_start(text, uri, "{", f"an object with {', '.join(names)}")
    missing, seen = list(names), list[str]()
    for name in _members(text):
        if name in missing:
            missing.remove(name)
            text.name = name
            if (first := text.peek()) not in {"[", ""}:
                kind = _KINDS.get(first) or reprlib.repr(text.value())
                raise AnnotationError(f"{uri}: {name} is {kind}, expected a list")
            entries = text.entries()
            yield name, entries
            deque(entries, maxlen=0)
        elif name in names:
            raise AnnotationError(f"{uri}: has {name} twice")
        else:
            text.name = reprlib.repr(name)
            _drop(text)
        if len(seen) < _MAX_NAMES:
            seen.append(reprlib.repr(name))
    text.end()
    if missing:
        has = ", ".join(seen) or "nothing"
        raise AnnotationError(f"{uri}: has no {missing[0]}; it has {has}")


def stream_entries(chunks: Iterable[bytes], uri: str, name: str) -> Iterator[object]:
    """Read a file that is one list, in messages a list of ``name``.

    Yields:
        The entries in the file's order.
    """
    text = JsonText(chunks, uri)
    _require_start(text, uri, "[", f"a list of {name}")
    text.name = name
    yield from text.entries()
    text.end()


def _require_start(text: JsonText, uri: str, start: str, expected: str) -> None:
    if (first := text.peek()) != start:
        kind = _KINDS.get(first) or f"not JSON, or a single value ({first!r}...)"
        raise AnnotationError(f"{uri}: is {kind}, expected {expected}")


def _members(text: JsonText) -> Iterator[str]:
    # The caller must take each member's value from the text before the next name.
    text.take("{")
    if text.peek() == "}":
        text.take("}")
        return
    separator = ","
    while separator == ",":
        text.expect('"')
        name = cast("str", text.value())
        text.take(":")
        yield name
        text.name = None
        separator = text.take(",}")


def _drop(text: JsonText) -> None:
    if text.peek() == "[":
        deque(text.entries(), maxlen=0)
    else:
        text.value()
