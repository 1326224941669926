"""A small S3 server of raw sockets, whose replies a test spoils one by one.

Every bucket has a fault of its own, so that many cases run at once against one server.
"""

import contextlib
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

Action = Literal["GET", "HEAD", "LIST", "PUT", "DELETE"]
ACTIONS: tuple[Action, ...] = ("GET", "HEAD", "LIST", "PUT", "DELETE")

_TIME = "2026-01-02T03:04:05.000Z"
_NO_BODY = {204, 304}
_MARK = "after:"  # begins the continuation tokens that this server gives


@dataclass(frozen=True)
class Request:
    """One request; ``first`` and ``last`` are the bytes of a range, where one is asked for."""

    action: Action
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def range(self) -> tuple[int, int] | None:
        """The first and the last byte that are asked for."""
        asked = self.headers.get("range")
        if asked is None:
            return None
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return int(first), int(last)


@dataclass(frozen=True)
class Reply:
    """A reply, to be sent as it is; ``length`` is announced, None for the body's own length."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    length: str | None = None

    def having(self, name: str, value: str | None) -> "Reply":
        """Replace a header; None drops it."""
        rest = {key: old for key, old in self.headers.items() if key.lower() != name.lower()}
        return replace(self, headers=rest if value is None else {**rest, name: value})

    def head(self) -> bytes:
        """Spell the first line and the headers."""
        headers = dict(self.headers)
        if self.length != "absent" and self.status not in _NO_BODY:
            headers["Content-Length"] = str(len(self.body)) if self.length is None else self.length
        lines = [f"HTTP/1.1 {self.status} Reply", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Script(NamedTuple):
    """What is sent instead of a reply: bytes, and pauses in seconds; then the connection's end."""

    parts: Sequence[bytes | float]
    end: Literal["keep", "close", "reset"] = "close"


Spoil = Callable[[Request, Reply], Reply | Script]


@dataclass
class Bucket:
    """Objects, and the fault of this bucket's replies.

    Attributes:
        objects: content by key.
        spoil: makes the reply that is sent out of the right one.
        actions: of the requests whose replies are spoilt.
        num_bad: replies to spoil; None for all.
        is_done: whether a request is carried out although its reply is spoilt.
        num_spoilt: replies spoilt so far.
    """

    objects: dict[str, bytes]
    spoil: Spoil
    actions: frozenset[Action]
    num_bad: int | None = None
    is_done: bool = True
    num_spoilt: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def takes(self, request: Request) -> bool:
        """Say whether to spoil the reply to this request, and count it."""
        if request.action not in self.actions or self.num_bad == self.num_spoilt:
            return False
        self.num_spoilt += 1
        return True


class FaultServer:
    """The server; ``buckets`` may be filled at any time."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.buckets: dict[str, Bucket] = {}
        self.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def accept(self) -> None:
        """Serve connections until the listener is shut down."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            rest = b""
            while True:
                read = _read_request(connection, rest)
                if read is None:
                    return
                name, request, rest = read
                # A redirect may lead to no bucket.
                bucket = self.buckets.get(name) or Bucket({}, lambda _, good: good, frozenset())
                script = self._answer(bucket, request)
                for part in script.parts:
                    if isinstance(part, float):
                        time.sleep(part)
                    else:
                        connection.sendall(part)
                if script.end == "reset":
                    linger = struct.pack("ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                if script.end != "keep":
                    return

    def _answer(self, bucket: Bucket, request: Request) -> Script:
        with bucket.lock:
            is_bad = bucket.takes(request)
            objects = bucket.objects if bucket.is_done or not is_bad else dict(bucket.objects)
            reply: Reply | Script = right_reply(objects, request)
            if is_bad:
                reply = bucket.spoil(request, reply)
        if isinstance(reply, Script):
            return reply
        body = b"" if request.action == "HEAD" or reply.status in _NO_BODY else reply.body
        return Script([reply.head() + body], "keep")


@contextlib.contextmanager
def running() -> Generator[FaultServer]:
    """Run a server on a free loopback port, in threads of this process."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        server = FaultServer(listener)
        thread = threading.Thread(target=server.accept, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def etag_of(data: bytes) -> str:
    """Return an object's etag, as S3 makes it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def error(status: int, code: str, message: str = "injected") -> Reply:
    """Make S3's reply for an error."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Reply(status, {"Content-Type": "application/xml"}, body)


def right_reply(objects: dict[str, bytes], request: Request) -> Reply:
    """Carry a request out, and make the reply of a server without faults."""
    if request.action == "LIST":
        return _list(objects, request.query)
    data = objects.get(request.key)
    if request.action == "PUT":
        if data is not None and request.headers.get("if-none-match") == "*":
            return error(412, "PreconditionFailed")
        objects[request.key] = request.body
        return Reply(200, {"ETag": f'"{etag_of(request.body)}"'})
    if request.action == "DELETE":
        objects.pop(request.key, None)
        return Reply(204)
    if data is None:
        return error(404, "NoSuchKey")
    etag = f'"{etag_of(data)}"'
    if request.headers.get("if-match", etag) != etag:
        return error(412, "PreconditionFailed")
    headers = {"ETag": etag, "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
    if request.action == "HEAD" or request.range is None:
        return Reply(200, headers, data)
    first, last = request.range
    if first >= len(data):
        return error(416, "InvalidRange")
    last = min(last, len(data) - 1)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Reply(206, headers, data[first : last + 1])


def _list(objects: Mapping[str, bytes], query: Mapping[str, str]) -> Reply:
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    given = query.get("continuation-token")
    if given is not None and not given.startswith(_MARK):
        return error(400, "InvalidArgument", "the continuation token is incorrect")
    after = unquote((given or "").removeprefix(_MARK))
    names: dict[str, str] = {}  # of objects and of folders, with their element
    for key, data in sorted(objects.items(), key=lambda entry: entry[0].encode()):
        if not key.startswith(prefix):
            continue
        if delimiter and delimiter in key[len(prefix) :]:
            folder = prefix + key[len(prefix) :].split(delimiter, 1)[0] + delimiter
            names[folder] = f"<CommonPrefixes><Prefix>{_spell(folder)}</Prefix></CommonPrefixes>"
        else:
            names[key] = (
                f"<Contents><Key>{_spell(key)}</Key><LastModified>{_TIME}</LastModified>"
                f'<ETag>"{etag_of(data)}"</ETag><Size>{len(data)}</Size></Contents>'
            )
    remaining = [name for name in names if name.encode() > after.encode()]
    page = remaining[: int(query.get("max-keys", "1000"))]
    token = _MARK + quote(page[-1]) if page else ""
    is_cut = len(page) < len(remaining)
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>bucket</Name><Prefix>{_spell(prefix)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        f"<EncodingType>url</EncodingType><IsTruncated>{str(is_cut).lower()}</IsTruncated>"
        + (f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if is_cut else "")
        + "".join(names[name] for name in page)
        + "</ListBucketResult>"
    )
    return Reply(200, {"Content-Type": "application/xml"}, body.encode())


def _spell(name: str) -> str:
    return escape(quote(name, safe="/"))


def _read_request(connection: socket.socket, rest: bytes) -> tuple[str, Request, bytes] | None:
    """Read one request: its bucket, the request, and bytes of the next one."""
    while b"\r\n\r\n" not in rest:
        block = connection.recv(2**16)
        if not block:
            return None
        rest += block
    head, _, rest = rest.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        key.lower(): value.strip() for key, _, value in (one.partition(":") for one in lines)
    }
    if headers.get("expect") == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = int(headers.get("content-length", "0"))
    while len(rest) < length:
        block = connection.recv(2**16)
        if not block:
            return None
        rest += block
    split = urlsplit(target)
    _, bucket, *key = unquote(split.path).split("/", 2)
    query = {name: value[0] for name, value in parse_qs(split.query, True).items()}  # noqa: FBT003
    is_list = method == "GET" and "list-type" in query
    action: Action = "LIST" if is_list else method  # type: ignore[assignment]
    request = Request(action, "".join(key), query, headers, rest[:length])
    return bucket, request, rest[length:]
