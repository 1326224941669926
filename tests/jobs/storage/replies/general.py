"""The kinds of bad replies that the fault server gives: one row each."""

import base64
import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from tests.jobs.storage.replies.fault_server import (
    ACTIONS,
    Action,
    Reply,
    Request,
    Script,
    Spoil,
    error,
)

Outcome = Literal["bad", "harmless", "refusal", "misleading"]
WITH_BODY: tuple[Action, ...] = ("GET", "LIST")
OBJECT: tuple[Action, ...] = ("GET", "HEAD")
READ_TIMEOUT_S, RESPONSE_TIMEOUT_S = 1.5, 2.5  # of the client, for the kinds that need time
OK = 200
_PAUSE_S = 2.5


@dataclass(frozen=True)
class Kind:
    """One kind of bad reply.

    Attributes:
        name: what is wrong.
        spoil: makes it.
        actions: of the requests that may get it.
        is_done: whether the server carries the request out nevertheless.
        outcome: ``bad`` must never count as an answer. ``harmless`` has all that was asked for. A
            ``refusal`` is what S3 says of missing objects or wrong rights: it may count when it
            comes twice in a row. A ``misleading`` one cannot be told from a right one at first, and
            leads to requests that fail: even a single one may end in an error.
        needs_time: whether a timeout of the client ends it.
    """

    name: str
    spoil: Spoil
    actions: tuple[Action, ...] = ACTIONS
    is_done: bool = True
    outcome: Outcome = "bad"
    needs_time: bool = False


def _always(reply: Reply) -> Spoil:
    return lambda _request, _good: reply


def _header(name: str, value: str | None) -> Spoil:
    return lambda _, good: good.having(name, value)


def _length(value: str | Callable[[int], int]) -> Spoil:
    def spoil(request: Request, good: Reply) -> Reply | Script:
        length = value if isinstance(value, str) else str(value(len(good.body)))
        return _closed(replace(good, length=length), request)

    return spoil


def _closed(reply: Reply, request: Request) -> Script:
    """Send a reply and close the connection, so that a body without a length has an end."""
    body = b"" if request.action == "HEAD" else reply.body
    return Script([reply.head() + body], "close")


def _body(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda _, good: replace(good, body=change(good.body))


def _raw(*parts: bytes | float, end: Literal["keep", "close", "reset"] = "close") -> Spoil:
    return lambda _request, _good: Script(parts, end)


def _around(make: Callable[[bytes, bytes], Iterable[bytes | float]], end: str = "close") -> Spoil:
    """Send head and body of the right reply in another way."""

    def spoil(request: Request, good: Reply) -> Script:
        body = b"" if request.action == "HEAD" else good.body
        return Script(list(make(good.head(), body)), end)

    return spoil


def _chunked(raw: Callable[[bytes], bytes], *, has_length: bool = False) -> Spoil:
    def spoil(request: Request, good: Reply) -> Script:
        good = good.having("Transfer-Encoding", "chunked")
        head = (good if has_length else replace(good, length="absent")).head()
        return Script([head, b"" if request.action == "HEAD" else raw(good.body)])

    return spoil


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _refusals() -> Iterable[Kind]:
    for status, code in (
        (400, "BadRequest"),
        (400, "ExpiredToken"),
        (401, "Unauthorized"),
        (403, "AccessDenied"),
        (403, "InvalidObjectState"),
        (403, "InvalidAccessKeyId"),
        (403, "SignatureDoesNotMatch"),
        (403, "RequestTimeTooSkewed"),
        (404, "NoSuchKey"),
        (404, "NoSuchBucket"),
        (405, "MethodNotAllowed"),
        (410, "Gone"),
        (418, "Teapot"),
        (421, "MisdirectedRequest"),
        (501, "NotImplemented"),
        (301, "PermanentRedirect"),
        (307, "TemporaryRedirect"),
    ):
        reply = error(status, code)
        yield Kind(f"{status} {code}", _always(reply), is_done=False, outcome="refusal")
    html = Reply(404, {"Content-Type": "text/html"}, b"<html>not found<br></html>")
    yield Kind("404 as a page", _always(html), is_done=False, outcome="refusal")
    moved = Reply(302, {"Location": "http://127.0.0.1:9/login"}, b"<html>log in</html>")
    yield Kind("302 to a login", _always(moved), is_done=False, outcome="refusal")
    moved = Reply(308, {"Location": "/"}, b"")
    yield Kind("308 to itself", _always(moved), is_done=False, outcome="refusal")


def _transient() -> Iterable[Kind]:
    for status, code in (
        (300, "MultipleChoices"),
        (304, "NotModified"),
        (408, "RequestTimeout"),
        (400, "RequestTimeout"),
        (409, "ConditionalRequestConflict"),
        (409, "OperationAborted"),
        (412, "PreconditionFailed"),
        (416, "InvalidRange"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (502, "BadGateway"),
        (503, "SlowDown"),
        (503, "ServiceUnavailable"),
        (504, "GatewayTimeout"),
        (507, "InsufficientStorage"),
        (599, "Unknown"),
        (999, "Unknown"),
    ):
        yield Kind(f"{status} {code}", _always(error(status, code)), is_done=False)
    page = Reply(502, {"Content-Type": "text/html"}, b"<html><hr>nginx</html>")
    yield Kind("502 as a page", _always(page), is_done=False)
    yield Kind("503 without a body", _always(Reply(503)), is_done=False)
    for code in ("InternalError", "SlowDown", "AccessDenied"):
        reply = replace(error(200, code), headers={})
        yield Kind(f"200 with the error {code}", _always(reply), is_done=False)
    for status in (201, 202, 203, 205, 226):
        yield Kind(
            f"{status} instead of 200",
            lambda _, good, status=status: replace(good, status=status),
            ("GET", "HEAD", "LIST"),
        )
    yield Kind("204 without content", _always(Reply(204)), ("GET", "HEAD", "LIST"))
    yield Kind("204 to a PUT that did nothing", _always(Reply(204)), ("PUT",), is_done=False)
    yield Kind("200 as a page", _always(Reply(200, {}, b"<html>welcome<br></html>")), is_done=False)
    for status in (101, 102, 103):
        yield Kind(
            f"{status} as the last word",
            _raw(b"HTTP/1.1 %d Reply\r\n\r\n" % status),
            ("GET", "HEAD", "LIST", "PUT"),
        )


def _connections() -> Iterable[Kind]:
    first = b"HTTP/1.1 200 OK\r\n"
    for is_done in (False, True):
        done = "after" if is_done else "before"
        yield Kind(f"closed {done} the work", _raw(), is_done=is_done)
        yield Kind(f"reset {done} the work", _raw(end="reset"), is_done=is_done)
    yield Kind("closed in the headers", _raw(first + b"Content-Le"), WITH_BODY)
    yield Kind("reset in the headers", _raw(first + b"Content-Le", end="reset"))
    yield Kind("not HTTP", _raw(b"\x00\x01\x02 no protocol at all\r\n\r\n"))
    yield Kind("TLS", _raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9))
    yield Kind("a status that is no number", _raw(b"HTTP/1.1 two hundred\r\n\r\n"))
    yield Kind("the status 0", _raw(b"HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n"))
    yield Kind("HTTP 2", _raw(b"HTTP/2 200\r\n\r\n"), ("GET", "HEAD", "LIST", "PUT"))
    yield Kind("HTTP 0.9", _raw(b"<html>hello</html>"), is_done=False)
    yield Kind("a line of 100 kB", _raw(first + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n"))
    yield Kind("a thousand headers", _raw(first + b"X-Many: 1\r\n" * 1000 + b"\r\n"))
    yield Kind("only line ends", _raw(b"\r\n" * 100))
    yield Kind("endless 100 Continue", _raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 500))
    yield Kind(
        "three times 100 Continue",
        _around(lambda head, body: [b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + head + body], "keep"),
        outcome="harmless",
    )
    yield Kind("no answer", _raw(_PAUSE_S), needs_time=True)
    yield Kind("an answer that stalls in the headers", _raw(first, _PAUSE_S), needs_time=True)
    yield Kind("headers that drip", _raw(*_drip(first + b"X-Slow: " + b"x" * 100)), needs_time=True)
    yield Kind(
        "closed after each answer, and not announced",
        _around(lambda head, body: [head + body]),
        outcome="harmless",
    )
    yield Kind(
        "bytes behind the answer",
        _around(lambda head, body: [head + body + b"8 bytes!"], "keep"),
        outcome="harmless",
    )
    yield Kind(
        "a second answer behind the answer",
        _around(lambda head, body: [head + body + head + body], "keep"),
        outcome="harmless",
    )
    yield Kind(
        "byte after byte",
        _around(lambda head, body: [head[i : i + 16] for i in range(0, len(head), 16)] + [body]),
        outcome="harmless",
    )


def _drip(data: bytes) -> Iterable[bytes | float]:
    for i in range(len(data)):
        yield from (data[i : i + 1], 0.04)


def _headers() -> Iterable[Kind]:
    for name, etag in (
        ("no ETag", None),
        ("an empty ETag", ""),
        ("an ETag of quotes", '""'),
        ("a weak ETag", 'W/"0123456789abcdef"'),
    ):
        yield Kind(name, _header("ETag", etag), OBJECT)
    yield Kind("the ETag of another version", _header("ETag", '"another"'), ("GET",))
    yield Kind("the ETag of another version, multipart", _header("ETag", '"another-3"'), ("GET",))
    for length in ("abc", "-1", "", "1e3", "0x10", "9" * 30, "5, 6"):
        yield Kind(f"Content-Length {length!r}", _length(length), OBJECT)
    yield Kind("no Content-Length", _length("absent"), OBJECT)
    yield Kind("Content-Length 8 too large", _length(lambda size: size + 8), ("GET",))
    yield Kind("Content-Length 8 too small", _length(lambda size: max(size - 8, 0)), ("GET",))
    yield Kind("Content-Length 0", _length(lambda _: 0), ("GET", "LIST"))
    yield Kind("Last-Modified is no time", _header("Last-Modified", "yesterday"), OBJECT)
    for name, value in (
        ("Date", "never"),
        ("Content-Type", "text/html; charset=utf-7"),
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "br, nonsense"),
        ("X-Amz-Request-Id", "\xff\xfe"),
        ("X-Amz-Meta-Note", "=?utf-8?q?=ff?="),
        ("Expires", "0"),
        ("Connection", "close"),
        ("Retry-After", "99999999"),
        ("x-amz-bucket-region", "mars-1"),
    ):
        yield Kind(f"{name}: {value!a}", _header(name, value), outcome="harmless")
    for name in ("crc32", "sha1", "sha256"):
        wrong = base64.b64encode(b"wrong" * 4).decode()
        yield Kind(f"a wrong {name}", _header(f"x-amz-checksum-{name}", wrong), ("GET",))
    yield Kind("a checksum that is no base64", _header("x-amz-checksum-crc32", "?"), ("GET",))
    yield Kind(
        "a checksum of parts",
        _header("x-amz-checksum-crc32", "AAAAAA==-2"),
        ("GET",),
        outcome="harmless",
    )
    yield Kind(
        "a header without colon", _around(lambda h, b: [_insert(h, b"nonsense") + b]), OBJECT
    )
    yield Kind("a header with NUL", _around(lambda h, b: [_insert(h, b"X-\0: \0") + b]), OBJECT)


def _habits() -> Iterable[Kind]:
    """Give the oddities that real servers have in every reply."""
    for status in (201, 202, 203, 204):

        def spoil(_: Request, good: Reply, status: int = status) -> Reply:
            return replace(good, status=status) if good.status == OK else good

        yield Kind(f"{status} to each PUT", spoil, ("PUT",), outcome="harmless")
    for action in ("PUT", "HEAD"):
        for etag in (None, "", '""', 'W/"0123456789abcdef"'):
            name = f"the ETag {etag} to each {action}"
            yield Kind(name, _header("ETag", etag), (action,), outcome="harmless")
    for status in (400, 403, 404, 405, 501):
        reply = Reply(status)
        yield Kind(f"{status} to each HEAD", _always(reply), ("HEAD",), outcome="harmless")
    absent = _length("absent")
    yield Kind("no Content-Length to each HEAD", absent, ("HEAD",), outcome="harmless")

    def refuse_conditions(request: Request, good: Reply) -> Reply:
        return error(501, "NotImplemented") if "if-match" in request.headers else good

    yield Kind("501 to If-Match", refuse_conditions, ("GET",), outcome="harmless")


def _insert(head: bytes, line: bytes) -> bytes:
    """Put a line before the headers, which http.client then takes for their end."""
    first, _, rest = head.partition(b"\r\n")
    return b"\r\n".join((first, line, rest))


def _bodies() -> Iterable[Kind]:
    yield Kind("no body", _around(lambda head, _: [head]), WITH_BODY)
    yield Kind("one byte short", _around(lambda head, body: [head + body[:-1]]), WITH_BODY)
    yield Kind(
        "half a body", _around(lambda head, body: [head + body[: len(body) // 2]]), WITH_BODY
    )
    yield Kind(
        "half a body, then a reset",
        _around(lambda head, body: [head + body[: len(body) // 2], 0.05], "reset"),
        WITH_BODY,
    )
    yield Kind(
        "half a body, then nothing",
        _around(lambda head, body: [head + body[: len(body) // 2], _PAUSE_S]),
        WITH_BODY,
        needs_time=True,
    )
    yield Kind(
        "a body that drips",
        _around(lambda head, body: [head, *_drip(body[:100])]),
        WITH_BODY,
        needs_time=True,
    )
    yield Kind("an empty body, announced", _body(lambda _: b""), WITH_BODY)
    yield Kind("8 bytes too many, announced", _body(lambda body: body + b"8 bytes!"), ("GET",))
    yield Kind("100 bytes, announced", _body(lambda body: body[:100]), ("GET",))
    yield Kind("one byte short, announced", _body(lambda body: body[:-1]), ("GET",))
    yield Kind("one byte late, announced", _body(lambda body: body[1:]), ("GET",))
    yield Kind("a compressed body", _body(gzip.compress), WITH_BODY)
    yield Kind(
        "chunks without a length", _chunked(lambda body: _chunk(body) + b"0\r\n\r\n"), ("GET",)
    )
    yield Kind("chunks without an end", _chunked(_chunk, has_length=True), ("GET",))
    yield Kind(
        "chunks and a length",
        _chunked(lambda body: _chunk(body) + b"0\r\n\r\n", has_length=True),
        WITH_BODY,
        outcome="harmless",
    )
    yield Kind("a chunk of no size", _chunked(lambda body: b"xyz\r\n" + body), WITH_BODY)
    yield Kind("a chunk of negative size", _chunked(lambda body: b"-5\r\n" + body), WITH_BODY)
    yield Kind("a chunk cut short", _chunked(lambda body: _chunk(body)[:-9]), WITH_BODY)
    yield Kind(
        "chunks of more than the length",
        _chunked(lambda body: _chunk(body + b"8 bytes!") + b"0\r\n\r\n", has_length=True),
        ("GET",),
    )
    yield Kind(
        "chunks announced, none sent", _around(lambda h, b: [_insert_chunked(h) + b]), WITH_BODY
    )
    page = b"<html>log in</html>"
    yield Kind("a page as the object", lambda _, good: replace(good, body=page), ("GET",))


def _insert_chunked(head: bytes) -> bytes:
    return _insert(head, b"Transfer-Encoding: chunked")


GENERAL: tuple[Kind, ...] = (
    *_refusals(),
    *_transient(),
    *_connections(),
    *_headers(),
    *_bodies(),
    *_habits(),
)
