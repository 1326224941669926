"""Every call of a storage against a server that gives bad replies: the right bytes or an error.

A bad reply is met by a real boto3 client on a real connection. When all replies are bad, the call
ends with one line; when one or two are, the right result comes.
"""

import gc
import hashlib
import io
import itertools
import random
import tarfile
import time
import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from fcos_core.errors import ConfigError, DataError, FcosError
from jobs.inputs.item_bytes import read_item_bytes
from jobs.rundir.rows import ManifestItem
from jobs.storage import UnreadableError, Version, weights
from jobs.storage.chunks import HashedChunks
from jobs.storage.range_file import RangeFile
from jobs.storage.retrying import RetryPolicy
from jobs.storage.s3 import listing as s3_listing
from jobs.storage.s3 import reading as s3_reading
from jobs.storage.s3 import replies as s3_replies
from jobs.storage.s3.client import disconnect
from jobs.storage.s3.storage import S3Storage
from tests.jobs.storage.replies import fault_server
from tests.jobs.storage.replies.fault_server import (
    Action,
    Bucket,
    FaultServer,
    Reply,
    Request,
    etag_of,
)
from tests.jobs.storage.replies.general import GENERAL, READ_TIMEOUT_S, RESPONSE_TIMEOUT_S, Kind
from tests.jobs.storage.replies.listings import LISTINGS
from tests.jobs.storage.replies.ranges import RANGES

pytestmark = [
    pytest.mark.server,
    # botocore leaves a response that it cannot parse to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]

KINDS = (*GENERAL, *RANGES, *LISTINGS)
THREADS = 32
CASES_OF_A_CLIENT, TIMED_CASES_OF_A_CLIENT = 120, 20
"""A client of botocore has 500 tokens: a retry costs it 5, and one after a timeout 10."""

LONGEST_CASE_S = 60.0

SMALL = np.random.default_rng(1).bytes(1500)
LARGE = np.random.default_rng(2).bytes(5000)
NEW = np.random.default_rng(3).bytes(700)
FLAT = [f"flat/{i}.jpg" for i in range(6)]
NESTED = [f"nested/{folder}/{i}.jpg" for folder in "abc" for i in range(5)]
ARCHIVE = io.BytesIO()
with tarfile.open(fileobj=ARCHIVE, mode="w") as tar:
    for member in ("a.jpg", "b.jpg"):
        header = tarfile.TarInfo(member)
        header.size = len(LARGE)
        tar.addfile(header, io.BytesIO(LARGE))
TAR = ARCHIVE.getvalue()
IMAGES = dict.fromkeys([*FLAT, *NESTED], b"image")
OBJECTS = {"small": SMALL, "large": LARGE, "images.tar": TAR, **IMAGES}

storage = S3Storage()


class Case(NamedTuple):
    """One kind of reply in one call."""

    call: "Call"
    kind: Kind


class Place(NamedTuple):
    """Where a call does its work."""

    uri: str
    bucket: Bucket
    address: str
    folder: Path

    def objects(self, keys: Sequence[str]) -> list[str]:
        return [f"{self.uri}/{key}" for key in keys]


class Call(NamedTuple):
    """A call of the storage: the requests it sends, and its result beside the right one."""

    name: str
    actions: tuple[Action, ...]
    run: Callable[[Place], tuple[object, object]]


def version(data: bytes) -> Version:
    return Version(size_bytes=len(data), etag=etag_of(data))


def range_file(place: Place) -> tuple[object, object]:
    info = storage.stat(f"{place.uri}/large")
    if info is None:
        return None, LARGE
    file = io.BufferedReader(RangeFile(info), 700)
    file.seek(1200)
    return (file.read(900), file.read()), (LARGE[1200:2100], LARGE[2100:])


def chunks(place: Place) -> tuple[object, object]:
    found = HashedChunks(f"{place.uri}/large", chunk_bytes=1300)
    data = b"".join(found)
    return (data, found.sha256), (LARGE, hashlib.sha256(LARGE).hexdigest())


def stat(place: Place) -> tuple[object, object]:
    info = storage.stat(f"{place.uri}/small")
    return info and info.version, version(SMALL)


def create(place: Place) -> tuple[object, object]:
    created = storage.create(f"{place.uri}/new", NEW)
    return (created, place.bucket.objects.get("new")), (True, NEW)


def create_again(place: Place) -> tuple[object, object]:
    created = storage.create(f"{place.uri}/small", NEW)
    return (created, place.bucket.objects.get("small")), (False, SMALL)


def check_create(place: Place) -> tuple[object, object]:
    storage.check_create(f"{place.uri}/run")
    return [key for key in place.bucket.objects if key.startswith("run")], []


def write(place: Place) -> tuple[object, object]:
    storage.write(f"{place.uri}/small", NEW)
    return place.bucket.objects["small"], NEW


def delete(place: Place) -> tuple[object, object]:
    storage.delete(f"{place.uri}/small")
    return "small" in place.bucket.objects, False


def image(name: str, data: bytes, right: bytes) -> Callable[[Place], tuple[object, object]]:
    """Read an image as a worker does; it is quarantined for a ``DataError``."""

    def read(place: Place) -> tuple[object, object]:
        etag = etag_of(data)
        uri, size = f"{place.uri}/{name}", len(right)
        item = ManifestItem(
            item_id=0, shard=0, kind="image", uri=uri, image_id=0, size_bytes=size, etag=etag
        )
        return read_item_bytes(item), right

    return read


def published_weights(place: Place) -> tuple[object, object]:
    published = weights.PublishedWeights(
        url=f"{place.address}/large",
        sha256_prefix=hashlib.sha256(LARGE).hexdigest()[:8],
        max_bytes=10_000,
    )
    found = weights.resolve_weights(
        "coco", published=published, cache=place.folder, timeout_s=READ_TIMEOUT_S, deadline_s=30.0
    )
    return found.path.read_bytes(), LARGE


CALLS = (
    Call("read", ("GET",), lambda at: (storage.read(f"{at.uri}/small", version(SMALL)), SMALL)),
    Call(
        "read any version",
        OB := ("HEAD", "GET"),
        lambda at: (storage.read(f"{at.uri}/small"), SMALL),
    ),
    Call(
        "read in parts",
        ("GET",),
        lambda at: (storage.read(f"{at.uri}/large", version(LARGE)), LARGE),
    ),
    Call(
        "read a range",
        ("GET",),
        lambda at: (
            storage.read_range(f"{at.uri}/large", 1000, 1500, version(LARGE)),
            LARGE[1000:2500],
        ),
    ),
    Call(
        "read a range of any version",
        OB,
        lambda at: (storage.read_range(f"{at.uri}/large", 4000, 1500), LARGE[4000:]),
    ),
    Call("seek in a file of ranges", OB, range_file),
    Call("hash chunks", OB, chunks),
    Call("stat", OB, stat),
    Call("read an image", ("GET",), image("small", SMALL, SMALL)),
    Call("read an image of an archive", OB, image("images.tar#b.jpg", TAR, LARGE)),
    Call("list one folder", ("LIST",), lambda at: (uris(at, "flat"), at.objects(FLAT))),
    Call(
        "list folders in parallel", ("LIST",), lambda at: (uris(at, "nested"), at.objects(NESTED))
    ),
    Call(
        "glob",
        ("LIST",),
        lambda at: (
            [info.uri for info in storage.glob(f"{at.uri}/nested/b/*.jpg")],
            [uri for uri in at.objects(NESTED) if "/b/" in uri],
        ),
    ),
    Call("is a folder", ("LIST",), lambda at: (storage.is_folder(f"{at.uri}/flat"), True)),
    Call("create", ("PUT", "HEAD", "GET"), create),
    Call("create what exists", ("PUT", "HEAD"), create_again),
    Call("check conditional writes", ("PUT", "HEAD", "DELETE"), check_create),
    Call("write", ("PUT",), write),
    Call("delete", ("DELETE",), delete),
    Call("download published weights", ("GET",), published_weights),
)


def uris(place: Place, folder: str) -> list[str]:
    return [info.uri for info in storage.list(f"{place.uri}/{folder}")]


CASES = [
    Case(call, kind) for kind in KINDS for call in CALLS if set(call.actions) & set(kind.actions)
]
"""Each kind of reply in each call that may meet it."""


def one_call_for_each_kind() -> list[Case]:
    """Choose a few cases: each kind in one call, the calls in turn."""
    calls = itertools.cycle(CALLS)
    return [
        Case(next(call for call in calls if set(call.actions) & set(kind.actions)), kind)
        for kind in KINDS
    ]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[FaultServer]:
    quick = RetryPolicy(attempts=5, first_delay_s=0.01, max_delay_s=0.02)
    monkeypatch.setattr(
        s3_replies,
        "BAD_REPLY_RETRIES",
        RetryPolicy(**{**vars(quick), "on": s3_replies.BadReplyError}),
    )
    monkeypatch.setattr(weights, "_ATTEMPTS", quick)
    monkeypatch.setattr(s3_reading, "PART_BYTES", 2000)
    monkeypatch.setattr(s3_listing, "PAGE_KEYS", 4)
    with fault_server.running() as server:
        for name, value in {
            "AWS_ENDPOINT_URL_S3": server.endpoint,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
            "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_RETRY_MODE": "standard",  # as the default, without its limit of requests a second
        }.items():
            monkeypatch.setenv(name, value)
        disconnect()
        yield server
    disconnect()
    gc.collect()  # while the mark's filter holds


def wrong_cases(
    server: FaultServer,
    folder: Path,
    cases: Sequence[Case],
    num_bad: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Run cases at once; say what went wrong in each that did not end as it should."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2" if num_bad is None else "4")
    cases = random.Random(0).sample(cases, len(cases))  # noqa: S311 -- slow ones are neighbours
    quick = [case for case in cases if not case.kind.needs_time]
    timed = [case for case in cases if case.kind.needs_time]
    wrong: list[str] = []
    with ThreadPoolExecutor(THREADS) as threads:
        for some in (*batches(quick, CASES_OF_A_CLIENT), *batches(timed, TIMED_CASES_OF_A_CLIENT)):
            is_timed = some[0].kind.needs_time  # a busy machine lets no other kind time out
            monkeypatch.setenv("FCOS_S3_READ_TIMEOUT_S", str(READ_TIMEOUT_S if is_timed else 60))
            seconds = RESPONSE_TIMEOUT_S if is_timed else 60
            monkeypatch.setenv("FCOS_S3_RESPONSE_TIMEOUT_S", str(seconds))
            disconnect()
            results = threads.map(lambda case: what_is_wrong(server, folder, case, num_bad), some)
            for case, result in zip(some, results, strict=True):
                if result is not None:
                    wrong.append(f"{case.call.name} / {case.kind.name}: {result}")
    return wrong


def batches(cases: Sequence[Case], size: int) -> list[Sequence[Case]]:
    return [cases[i : i + size] for i in range(0, len(cases), size)]


def what_is_wrong(server: FaultServer, folder: Path, case: Case, num_bad: int | None) -> str | None:
    call, kind = case
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    bucket = Bucket(dict(OBJECTS), kind.spoil, frozenset(kind.actions), num_bad, kind.is_done)
    server.buckets[name] = bucket
    place = Place(f"s3://{name}", bucket, f"{server.endpoint}/{name}", folder / name)
    may_fail = kind.outcome != "harmless" and (num_bad is None or kind.outcome == "misleading")
    began_s = time.monotonic()
    try:
        got, right = call.run(place)
    except FcosError as error:
        wrong = None if may_fail else "an error"
        if "\n" in str(error):
            wrong = "more than a line"
        is_final = isinstance(error, UnreadableError | ConfigError | DataError)
        if is_final and kind.outcome == "bad" and call.run is not published_weights:
            wrong = "a bad reply is believed"
        wrong = wrong and f"{wrong}: {type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 -- that is what the test looks for
        wrong = f"a traceback: {type(error).__name__}: {error}"
    else:
        is_absent = got is None and kind.outcome == "refusal" and may_fail
        wrong = None if got == right or is_absent else f"{got!r:.80} instead of {right!r:.80}"
    if time.monotonic() - began_s > LONGEST_CASE_S:
        wrong = f"{time.monotonic() - began_s:.0f} s"
    return wrong


def test_there_are_many_kinds_of_bad_replies():
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    assert sum(kind.outcome != "harmless" for kind in KINDS) >= 100
    for action in fault_server.ACTIONS:
        assert any(action in call.actions for call in CALLS)


def test_without_faults_every_call_gives_the_right_result(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    none = Kind("none", lambda _, good: good, outcome="harmless")
    wrong = wrong_cases(server, tmp_path, [Case(call, none) for call in CALLS], None, monkeypatch)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("num_bad", [None, pytest.param(1, marks=pytest.mark.slow)])
def test_each_kind_of_bad_reply_ends_in_one_line_or_in_the_right_bytes(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_bad: int | None
):
    wrong = wrong_cases(server, tmp_path, one_call_for_each_kind(), num_bad, monkeypatch)
    assert not wrong, "\n".join(wrong)


def test_a_server_that_ignores_conditions_is_refused_though_its_replies_are_odd(
    server: FaultServer,
):
    objects: dict[str, bytes] = {}

    def replace_always(request: Request, good: Reply) -> Reply:
        del good
        objects[request.key] = request.body
        return Reply(201)

    server.buckets["forgetful"] = Bucket(objects, replace_always, frozenset({"PUT"}))
    with pytest.raises(ConfigError, match="ignores If-None-Match"):
        storage.check_create("s3://forgetful/run")
    assert objects == {}


@pytest.mark.slow
@pytest.mark.parametrize("num_bad", [None, 1, 2])
def test_every_call_stands_every_kind_of_bad_reply(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_bad: int | None
):
    # Refusals that come twice are believed.
    cases = [case for case in CASES if num_bad != 2 or case.kind.outcome != "refusal"]
    wrong = wrong_cases(server, tmp_path, cases, num_bad, monkeypatch)
    assert not wrong, "\n".join(wrong)
