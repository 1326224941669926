"""The lists of a JSON object entry by entry, for annotation files larger than memory."""

import reprlib
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from itertools import count
from typing import cast

from fcos_core.errors import AnnotationError
from jobs.annotations.json_text import JsonText

_MAX_NAMES = 8
_KINDS = {"[": "a list", "{": "an object", '"': "a string", "": "empty"}


def stream_lists(
    chunks: Iterable[bytes], uri: str, names: Collection[str]
) -> Iterator[tuple[str, Iterator[object]]]:
    """Read the named lists of a JSON object, in the file's order.

    In memory are a few chunks and one entry; other members are passed over, lists among them by
    entry. The whole file is checked to be JSON, as ``json.loads`` does: ``NaN`` is a number, and
    of two equal keys in an entry the later counts.

    Args:
        chunks: the file's bytes.
        uri: the file, for messages.
        names: members of the object that must be there once, as lists.

    Yields:
        Each list's name and its entries. As with ``itertools.groupby``, the entries are to be
        taken before the next list is asked for; what is left of them then is passed over.

    Raises:
        AnnotationError: the file is not such an object; the line names the place.
    """
    text = JsonText(chunks, uri)
    if (first := text.peek()) != "{":
        kind = _KINDS.get(first) or f"not JSON, or a single value ({first!r}...)"
        raise AnnotationError(f"{uri}: is {kind}, expected an object with {', '.join(names)}")
    missing, seen = list(names), list[str]()
    for name in _members(text):
        if name in missing:
            missing.remove(name)
            text.name = name
            if (first := text.peek()) not in {"[", ""}:
                kind = _KINDS.get(first) or reprlib.repr(text.value())
                raise AnnotationError(f"{uri}: {name} is {kind}, expected a list")
            entries = _entries(text)
            yield name, entries
            deque(entries, maxlen=0)
        elif name in names:
            raise AnnotationError(f"{uri}: has {name} twice")
        else:
            text.name = reprlib.repr(name)
            _pass_over(text)
        if len(seen) < _MAX_NAMES:
            seen.append(reprlib.repr(name))
    text.end()
    if missing:
        has = ", ".join(seen) or "nothing"
        raise AnnotationError(f"{uri}: has no {missing[0]}; it has {has}")


def _members(text: JsonText) -> Iterator[str]:
    """Take the object around the members; whoever iterates takes each member's value.

    Yields:
        The name of each member, with the text at its value.
    """
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


def _entries(text: JsonText) -> Iterator[object]:
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    for position in count():
        text.position = position
        yield text.value()
        if text.take(",]") == "]":
            text.position = None
            return


def _pass_over(text: JsonText) -> None:
    if text.peek() == "[":
        deque(_entries(text), maxlen=0)
    else:
        text.value()
