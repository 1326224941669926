"""S3 through a proxy that lets requests fail: all reads and writes are correct nevertheless."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest

from fcos_core.errors import StorageError
from jobs.storage import UnreadableError
from jobs.storage.retrying import RetryPolicy
from jobs.storage.s3 import listing as s3_listing
from jobs.storage.s3 import reading as s3_reading
from jobs.storage.s3 import replies as s3_replies
from jobs.storage.s3.client import disconnect
from jobs.storage.s3.storage import S3Storage
from tests.chaos.proxy import KINDS, FaultProxy, Faults, Kind
from tests.s3_servers import S3Server

CALM = Faults(rate=0.0)

storage = S3Storage()


@pytest.fixture
def proxy(s3: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Generator[FaultProxy]:
    del s3  # only its environment
    with FaultProxy(s3_server.endpoint, CALM) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        monkeypatch.setenv("FCOS_S3_READ_TIMEOUT_S", "2")
        disconnect()
        yield proxy
        disconnect()


@pytest.mark.parametrize("kind", KINDS)
def test_a_retry_overcomes_every_kind_of_fault(
    s3: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, kind: str
):
    # Our adaptive retries would slow this down, to protect the server.
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")
    disconnect()
    monkeypatch.setattr(s3_reading, "PART_BYTES", 30_000)
    contents = {f"{s3}/{i:02d}": np.random.default_rng(i).bytes(5000 * i) for i in range(12)}
    proxy.faults = Faults(
        rate=0.15 if kind == "stall" else 0.3, kinds=(cast("Kind", kind),), stall_s=2.5
    )
    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(storage.create, contents, contents.values()))
        assert not any(threads.map(storage.create, contents, [b"another"] * len(contents)))
        assert list(threads.map(storage.read, contents)) == list(contents.values())
        assert [info.uri for info in storage.list(s3)] == list(contents)
    assert proxy.met[kind], "the test met nothing"


def test_a_read_that_breaks_off_goes_on_at_the_same_byte(
    s3: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        s3_replies,
        "BAD_REPLY_RETRIES",
        RetryPolicy(attempts=40, on=s3_replies.BadReplyError, first_delay_s=0.01, max_delay_s=0.01),
    )
    data = np.random.default_rng(0).bytes(2**20)
    storage.write(f"{s3}/x", data)
    proxy.faults = Faults(rate=0.9, kinds=("truncate",))
    assert storage.read(f"{s3}/x") == data
    assert proxy.met["truncate"] >= 1


@pytest.mark.parametrize("version_is_known", [False, True])
def test_an_object_that_changes_between_two_parts_of_a_read_is_never_mixed(
    s3: str, proxy: FaultProxy, *, version_is_known: bool
):
    storage.write(f"{s3}/x", b"a" * 10_000)
    info = storage.stat(f"{s3}/x")
    assert info is not None
    proxy.faults = Faults(rate=1.0, kinds=("truncate",))

    def change() -> None:
        proxy.faults = CALM
        storage.write(f"{s3}/x", b"b" * 10_000)

    original = s3_replies.BadReplyError.__init__

    with pytest.MonkeyPatch.context() as patch:

        def change_after_the_cut(self: s3_replies.BadReplyError, *message: object) -> None:
            original(self, *message)
            patch.undo()
            change()

        patch.setattr(s3_replies.BadReplyError, "__init__", change_after_the_cut)
        if version_is_known:
            with pytest.raises(UnreadableError, match="has changed: it was 10000 bytes"):
                storage.read(f"{s3}/x", info.version)
        else:
            assert storage.read(f"{s3}/x") == b"b" * 10_000


def test_endless_faults_end_after_a_bounded_wait(
    s3: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
):
    storage.write(f"{s3}/x", b"content")
    info = storage.stat(f"{s3}/x")
    assert info is not None
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    monkeypatch.setenv("AWS_RETRY_MODE", "standard")
    disconnect()
    proxy.faults = Faults(rate=1.0, kinds=("slow_down",))
    with pytest.raises(StorageError, match=r"cannot be read now: SlowDown, HTTP 503") as caught:
        storage.read(f"{s3}/x", info.version)
    assert not isinstance(caught.value, UnreadableError)
    assert proxy.met["slow_down"] == 3, "not only botocore retries"
    proxy.faults = CALM
    assert storage.read(f"{s3}/x") == b"content"


def test_a_listing_of_many_pages_survives_faults(
    s3: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(s3_listing, "PAGE_KEYS", 5)
    uris = [f"{s3}/{folder}/{i:02d}" for folder in "abcd" for i in range(11)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda uri: storage.write(uri, b""), uris))
    proxy.faults = Faults(seed=3, rate=0.3, stall_s=2.5)
    assert [info.uri for info in storage.list(s3)] == uris
    assert proxy.met.total() - proxy.met["ok"] > 3
