"""A proxy between a client and an S3 server that makes a seeded share of the requests fail.

The client sends its requests to the proxy's address. The proxy forwards the signed Host header
unchanged, so the signature stays valid. In a test ``FaultProxy`` runs in a thread; as a process::

    python -m tests.chaos.proxy http://127.0.0.1:8333 --port 9000 --seed 7 --rate 0.2
"""

import argparse
import asyncio
import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Kind = Literal["slow_down", "internal_error", "reset", "lost_answer", "truncate", "stall"]

KINDS: tuple[Kind, ...] = (
    "slow_down",  # 503, the request was not done
    "internal_error",  # 500, the request was not done
    "reset",  # the connection is reset, the request was not done
    "lost_answer",  # the connection is reset after the request was done
    "truncate",  # the answer's body breaks off
    "stall",  # nothing more comes in the middle of the answer, for ``stall_s``
)

_HEAD_BYTES = 2**16
_BLOCK_BYTES = 2**16
_ERROR = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
    "<Message>injected by the test's proxy</Message></Error>"
)
_NO_BODY = {204, 304}
_LINE = b"\r\n"


@dataclass(frozen=True, kw_only=True)
class Faults:
    """The faults to inject.

    Attributes:
        seed: of the random choice; the order of the requests also decides which of them fail.
        rate: share of requests that fail, from 0 to 1.
        kinds: kinds of faults, all equally likely.
        stall_s: pause in a stalled answer before its connection is reset.
    """

    seed: int = 0
    rate: float = 0.2
    kinds: Sequence[Kind] = KINDS
    stall_s: float = 5.0


@dataclass(eq=False)
class FaultProxy:
    """A proxy in a thread of this process, while its ``with`` block lasts.

    Attributes:
        upstream: address of the server.
        faults: the faults to inject; may be replaced at any time.
        port: port to listen on; 0 takes a free one.
        met: number of requests by kind of fault, and of those without one as ``ok``.
    """

    upstream: str
    faults: Faults = field(default_factory=Faults)
    port: int = 0
    met: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        split = urlsplit(self.upstream)
        assert split.scheme == "http"
        assert split.hostname is not None
        self._host, self._upstream_port = split.hostname, split.port or 80
        self._random = random.Random(self.faults.seed)  # noqa: S311 -- guards nothing
        self._connections: set[asyncio.Task[None]] = set()
        self._ready, self._failed = threading.Event(), False

    @property
    def endpoint(self) -> str:
        """The proxy's own address."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "FaultProxy":
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)
        self._thread.start()
        assert self._ready.wait(30)
        assert not self._failed, f"port {self.port} cannot be used"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._failed = not self._ready.is_set()
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, limit=_HEAD_BYTES, backlog=512
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._pass_on(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # client or server has closed the connection, or the test is over
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Serve one request; return whether the connection stays open."""
        request = await _read_head(reader)
        if request is None:
            return False
        if request.expects_permission:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _read_body(reader, request)
        kind = self._choose()
        self.met[kind or "ok"] += 1
        if kind in {"slow_down", "internal_error"}:
            writer.write(_error_answer(503 if kind == "slow_down" else 500, request))
            await writer.drain()
            return True
        if kind == "reset":
            return _reset(writer)
        return await self._forward(request, body, writer, kind)

    async def _forward(
        self, request: "_Head", body: bytes, writer: asyncio.StreamWriter, kind: Kind | None
    ) -> bool:
        from_server, to_server = await asyncio.open_connection(
            self._host, self._upstream_port, limit=_HEAD_BYTES
        )
        try:
            to_server.write(request.without_expect() + body)
            await to_server.drain()
            answer = await _read_head(from_server)
            while answer is not None and answer.status == 100:
                answer = await _read_head(from_server)
            if answer is None:
                return _reset(writer)
            length = answer.body_length(request)
            if kind == "lost_answer":
                await _discard(from_server, answer, length)
                return _reset(writer)
            if kind in {"truncate", "stall"}:
                content = await _read_all(from_server, answer, length)
                writer.write(answer.raw + content[: self._random.randrange(len(content) + 1) // 2])
                await writer.drain()
                if kind == "stall":
                    await asyncio.sleep(self.faults.stall_s)
                return _reset(writer)
            writer.write(answer.raw)
            await _copy(from_server, writer, answer, length)
            return not answer.closes
        finally:
            to_server.transport.abort()

    def _choose(self) -> Kind | None:
        faults = self.faults
        if self._random.random() >= faults.rate:
            return None
        return faults.kinds[self._random.randrange(len(faults.kinds))]


@dataclass(frozen=True)
class _Head:
    """First line and headers of a request or an answer."""

    raw: bytes

    @property
    def first(self) -> list[str]:
        return self.raw.split(_LINE, 1)[0].decode("latin-1").split(" ")

    @property
    def status(self) -> int:
        return int(self.first[1])

    def header(self, name: str) -> str | None:
        for line in self.raw.split(_LINE)[1:]:
            key, _, value = line.decode("latin-1").partition(":")
            if key.strip().lower() == name:
                return value.strip()
        return None

    @property
    def is_chunked(self) -> bool:
        return (self.header("transfer-encoding") or "").lower() == "chunked"

    @property
    def expects_permission(self) -> bool:
        return (self.header("expect") or "").lower() == "100-continue"

    @property
    def closes(self) -> bool:
        return (self.header("connection") or "").lower() == "close"

    def without_expect(self) -> bytes:
        lines = self.raw.split(_LINE)
        return _LINE.join(line for line in lines if not line.lower().startswith(b"expect:"))

    def body_length(self, request: "_Head") -> int | None:
        """Length of an answer's body; None when its end is not known beforehand."""
        if request.first[0] == "HEAD" or self.status in _NO_BODY:
            return 0
        length = self.header("content-length")
        return None if length is None else int(length)


async def _read_head(reader: asyncio.StreamReader) -> _Head | None:
    try:
        return _Head(await reader.readuntil(_LINE + _LINE))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None  # the connection was closed between requests


async def _read_body(reader: asyncio.StreamReader, request: _Head) -> bytes:
    if request.is_chunked:
        return await _read_all(reader, request, None)
    return await reader.readexactly(int(request.header("content-length") or 0))


async def _read_all(reader: asyncio.StreamReader, head: _Head, length: int | None) -> bytes:
    if length is not None:
        return await reader.readexactly(length)
    if not head.is_chunked:
        return await reader.read()
    raw = bytearray()
    while True:
        line = await reader.readuntil(_LINE)
        size = int(line.split(b";")[0], 16)
        raw += line + await reader.readexactly(size + len(_LINE))
        if not size:
            return bytes(raw)


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: _Head, length: int | None
) -> None:
    if length is None:
        writer.write(await _read_all(reader, head, None))
        await writer.drain()
        return
    while length:
        block = await reader.read(min(length, _BLOCK_BYTES))
        if not block:
            raise ConnectionResetError("the server's answer broke off by itself")
        writer.write(block)
        await writer.drain()
        length -= len(block)


async def _discard(reader: asyncio.StreamReader, head: _Head, length: int | None) -> None:
    await _read_all(reader, head, length)


def _error_answer(status: int, request: _Head) -> bytes:
    code, reason = {503: ("SlowDown", "Slow Down"), 500: ("InternalError", "Internal")}[status]
    body = _ERROR.format(code=code).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    return head if request.first[0] == "HEAD" else head + body


def _reset(writer: asyncio.StreamWriter) -> bool:
    """Reset the connection, after the written bytes have been sent."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
    return False


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--stall-s", type=float, default=5.0)
    given = parser.parse_args()
    faults = Faults(
        seed=given.seed, rate=given.rate, kinds=tuple(given.kinds), stall_s=given.stall_s
    )
    with FaultProxy(given.upstream, faults, given.port):
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
