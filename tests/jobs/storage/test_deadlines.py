"""A response has a deadline of its own, however often its next byte comes."""

import contextlib
import http.client
import itertools
import time

import pytest

from jobs.storage.deadlines import bounded
from tests.jobs.storage.replies import fault_server
from tests.jobs.storage.replies.fault_server import Bucket, Script

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n"


def dripping(start: bytes) -> Script:
    drops = itertools.chain.from_iterable((b"x", 0.05) for _ in range(200))
    return Script([start, *drops])


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(HEAD + b"\r\n", id="body"),
        pytest.param(HEAD + b"X-Slow: ", id="headers"),
        pytest.param(b"HTTP/1.1 200 ", id="first line"),
    ],
)
def test_a_response_that_drips_is_cut_at_its_deadline(start: bytes):
    bucket = Bucket({}, lambda *_: dripping(start), frozenset({"GET"}))
    with fault_server.running() as server:
        server.buckets["b"] = bucket
        host, port = server.endpoint.removeprefix("http://").split(":")
        connection = bounded(http.client.HTTPConnection, 0.5)(host, int(port), timeout=5)
        began_s = time.monotonic()
        # A first line or headers that end early make a response without content.
        content = b""
        with contextlib.suppress(http.client.HTTPException, OSError):
            connection.request("GET", "/b/x")
            content = connection.getresponse().read()
        connection.close()
    assert content == b""
    assert 0.4 < time.monotonic() - began_s < 5, "without a deadline it takes 10 s"


def test_an_idle_connection_outlives_the_deadline_of_its_last_response():
    bucket = Bucket({"x": b"content"}, lambda _, good: good, frozenset())
    with fault_server.running() as server:
        server.buckets["b"] = bucket
        host, port = server.endpoint.removeprefix("http://").split(":")
        connection = bounded(http.client.HTTPConnection, 0.2)(host, int(port), timeout=5)
        for pause_s in (0.6, 0.0):
            connection.request("GET", "/b/x")
            assert connection.getresponse().read() == b"content"
            first = connection.sock
            time.sleep(pause_s)
        assert connection.sock is first
        connection.close()
