"""Bad replies to GET: of another range, another length, another status than asked."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.jobs.storage.replies.fault_server import Reply, Request, Script, Spoil
from tests.jobs.storage.replies.general import Kind

OTHER = bytes(range(7, 107))
"""Bytes of another object."""


def _range(spell: Callable[[int, int, int], str | None]) -> Spoil:
    """Spell another Content-Range, from first byte, last byte and size; the body stays."""

    def spoil(_: Request, good: Reply) -> Reply:
        spelt = good.headers.get("Content-Range", f"bytes 0-{len(good.body) - 1}/{len(good.body)}")
        first, last, size = (int(number) for number in re.findall(r"\d+", spelt))
        other = spell(first, last, size)
        return replace(good, status=206).having("Content-Range", other)

    return spoil


def _moved(by: int, *, is_told: bool) -> Spoil:
    """Give the bytes of a range a little further, and tell so or not."""

    def spoil(request: Request, good: Reply) -> Reply:
        first, last = request.range or (0, len(good.body) - 1)
        size = good.headers.get("Content-Range", "/5000").rpartition("/")[2]
        told = f"bytes {first + by}-{last + by}/{size}" if is_told else None
        body = (good.body[by:] + OTHER)[: len(good.body)]
        spoilt = replace(good, status=206, body=body)
        return (
            spoilt.having("Content-Range", told) if told else spoilt.having("Content-Range", None)
        )

    return spoil


def _multipart(_: Request, good: Reply) -> Reply:
    body = b"--x\r\nContent-Range: bytes 0-9/10\r\n\r\n" + good.body + b"\r\n--x--\r\n"
    changed = replace(good, status=206, body=body).having("Content-Range", None)
    return changed.having("Content-Type", "multipart/byteranges; boundary=x")


def _whole(_: Request, good: Reply) -> Reply:
    body = (good.body + OTHER * 50)[:5000]
    return replace(good, status=200, body=body).having("Content-Range", None)


def _short(_: Request, good: Reply) -> Reply:
    """Give fewer bytes, and tell so correctly."""
    spelt = good.headers.get("Content-Range", "bytes 0-0/5000")
    first = int(spelt.removeprefix("bytes ").partition("-")[0])
    body = good.body[: len(good.body) // 2]
    told = f"bytes {first}-{first + len(body) - 1}/{spelt.rpartition('/')[2]}"
    return replace(good, status=206, body=body).having("Content-Range", told)


def _cut_then(rest: Spoil) -> Spoil:
    """Break the whole body off; spoil what is asked for after that."""

    def spoil(request: Request, good: Reply) -> Reply | Script:
        if good.status == 206:
            return rest(request, good)
        return Script([good.head() + good.body[: len(good.body) // 3]])

    return spoil


def _kinds() -> Iterable[tuple[str, Spoil]]:
    yield "206 without Content-Range", _range(lambda *_: None)
    for name, spell in (
        ("an empty Content-Range", lambda *_: ""),
        ("Content-Range without a size", lambda a, b, _: f"bytes {a}-{b}"),
        ("Content-Range of unknown size", lambda a, b, _: f"bytes {a}-{b}/*"),
        ("Content-Range of no bytes", lambda *n: f"bytes */{n[2]}"),
        ("Content-Range without a unit", lambda a, b, n: f"{a}-{b}/{n}"),
        ("Content-Range of other units", lambda a, b, n: f"pages {a}-{b}/{n}"),
        ("Content-Range reversed", lambda a, b, n: f"bytes {b}-{a}/{n}"),
        ("Content-Range one further", lambda a, b, n: f"bytes {a + 1}-{b + 1}/{n}"),
        ("Content-Range that begins one later", lambda a, b, n: f"bytes {a + 1}-{b}/{n}"),
        ("Content-Range that ends one later", lambda a, b, n: f"bytes {a}-{b + 1}/{n}"),
        ("Content-Range that ends one earlier", lambda a, b, n: f"bytes {a}-{b - 1}/{n}"),
        ("Content-Range from the start", lambda a, b, n: f"bytes {a - a}-{b - a}/{n}x"),
        ("Content-Range of a larger object", lambda a, b, n: f"bytes {a}-{b}/{n + 1}"),
        ("Content-Range of a smaller object", lambda a, b, n: f"bytes {a}-{b}/{n - 1}"),
        ("Content-Range of words", lambda *_: "bytes all-of/it"),
        ("Content-Range of other digits", lambda a, b, n: f"bytes {a}-{b}/{n}\xb2"),
        ("Content-Range negative", lambda a, b, n: f"bytes -{a}--{b}/-{n}"),
        ("two Content-Ranges", lambda a, b, n: f"bytes {a}-{b}/{n}, bytes {a}-{b}/{n}"),
    ):
        yield name, _range(spell)
    yield "bytes of another range, as told", _moved(10, is_told=True)
    yield "bytes of another range, untold", _moved(10, is_told=False)
    yield "another range one byte on, as told", _moved(1, is_told=True)
    yield "several ranges at once", _multipart
    yield "the whole object where a range was asked", _whole
    yield "fewer bytes, as told", _short
    yield "200 with the range's bytes", lambda _, good: replace(good, status=200).having("X", "y")
    yield "206 where the whole was asked", lambda _, good: replace(good, status=206)
    yield "206 of no bytes", lambda _, good: replace(good, status=206, body=b"")
    yield "cut, then another range", _cut_then(_moved(10, is_told=True))
    yield "cut, then no Content-Range", _cut_then(_moved(10, is_told=False))
    yield "cut, then the whole object", _cut_then(_whole)
    yield (
        "cut, then 8 bytes too many",
        _cut_then(lambda _, good: replace(good, body=good.body + OTHER)),
    )
    yield "cut, then fewer bytes", _cut_then(_short)
    yield "cut, then another version", _cut_then(lambda _, good: good.having("ETag", '"another"'))
    yield "cut, then 416", _cut_then(lambda *_: Reply(416))
    yield "cut again and again", _cut_then(lambda _, good: Script([good.head() + good.body[:3]]))


RANGES: tuple[Kind, ...] = (
    *(Kind(name, spoil, ("GET",)) for name, spoil in _kinds()),
    Kind(
        "Content-Range in capitals",
        lambda _, good: good.having(
            "Content-Range", good.headers.get("Content-Range", "").replace("b", "B") or None
        ),
        ("GET",),
        outcome="harmless",
    ),
    Kind("cut, then 404", _cut_then(lambda *_: Reply(404)), ("GET",), outcome="refusal"),
)
