"""S3 with a real server: names, reads, creation, and errors that say what to do."""

import http.server
import os
import pickle
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fcos_core.errors import ConfigError, StorageError
from jobs.settings.detect import DetectConfig
from jobs.storage import MissingError, UnreadableError, Version
from jobs.storage.s3 import reading as s3_reading
from jobs.storage.s3.client import connection, disconnect
from jobs.storage.s3.storage import S3Storage
from tests.commands import run_python
from tests.s3_servers import BUCKET, S3Server, free_ports

AWKWARD = [
    "a b",
    "a#b",
    "100%",
    "%41",
    "a+b",
    "a?b&c=d",
    "schön",
    "写真🙂",
    "two\nlines",
    "-rf",
    "'quoted\"",
    "<tag>",
    "a*[b]",
    "..dots",
]

storage = S3Storage()


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_names_round_trip(s3: str, s3_server: S3Server, name: str):
    if "\n" in name and s3_server.name == "moto":
        pytest.skip("moto finds no key with a line end in it")
    uri = f"{s3}/{name}/{name}.bin"
    assert storage.stat(uri) is None
    assert storage.create(uri, b"content")
    assert storage.read(uri) == b"content"
    assert storage.read_range(uri, 3, 2) == b"te"
    (listed,) = storage.list(s3)
    assert listed == storage.stat(uri)
    assert (listed.uri, listed.size_bytes, listed.mtime_ns) == (uri, 7, None)
    assert listed.etag
    storage.delete(uri)
    storage.delete(uri)
    assert storage.stat(uri) is None


@pytest.mark.parametrize("key", ["a//b", "/a", "a/", "//", "a/ /b", "./a", "a/../b"])
def test_keys_that_are_no_paths_are_kept_as_they_are(s3: str, s3_server: S3Server, key: str):
    if not s3_server.keeps_slashes:
        pytest.skip(f"{s3_server.name} takes keys for paths")
    uri = f"{s3}/{key}"
    assert storage.create(uri, b"content")
    assert storage.read(uri) == b"content"
    assert [info.uri for info in storage.list(s3)] == [uri]


def test_create_never_changes_what_is_there(s3: str):
    assert storage.create(f"{s3}/shard", b"first")
    assert not storage.create(f"{s3}/shard", b"second")
    assert storage.read(f"{s3}/shard") == b"first"
    storage.write(f"{s3}/shard", b"third")
    assert storage.read(f"{s3}/shard") == b"third"


def test_of_many_creators_one_wins(s3: str):
    together = threading.Barrier(8)

    def create(i: int) -> bool:
        together.wait(60)
        return storage.create(f"{s3}/shard", b"%d" % i)

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(create, range(8)))
    assert won.count(True) == 1
    assert storage.read(f"{s3}/shard") == b"%d" % won.index(True)


def test_an_empty_object_and_ranges_past_the_end(s3: str):
    storage.write(f"{s3}/empty", b"")
    storage.write(f"{s3}/x", b"0123")
    assert storage.read(f"{s3}/empty") == b""
    assert storage.read_range(f"{s3}/empty", 0, 10) == b""
    assert storage.read_range(f"{s3}/x", 2, 100) == b"23"
    assert storage.read_range(f"{s3}/x", 9, 1) == b""
    assert storage.read_range(f"{s3}/x", 1, 0) == b""


@pytest.mark.parametrize("version_is_known", [False, True])
def test_a_large_object_is_read_in_parts(
    s3: str, monkeypatch: pytest.MonkeyPatch, *, version_is_known: bool
):
    monkeypatch.setattr(s3_reading, "PART_BYTES", 1000)
    for size in (999, 1000, 1001, 4000, 12_345):
        data = np.random.default_rng(size).bytes(size)
        storage.write(f"{s3}/large", data)
        info = storage.stat(f"{s3}/large")
        assert info is not None
        version = info.version if version_is_known else Version()
        assert storage.read(f"{s3}/large", version) == data
        assert storage.read_range(f"{s3}/large", 500, 5000) == data[500:5500]


def test_a_changed_object_is_not_read_and_both_versions_are_named(s3: str):
    storage.write(f"{s3}/x", b"old")
    old = storage.stat(f"{s3}/x")
    assert old is not None
    assert storage.read(f"{s3}/x", old.version) == b"old"
    storage.write(f"{s3}/x", b"newer")
    new = storage.stat(f"{s3}/x")
    assert new is not None
    for read in (
        lambda: storage.read(f"{s3}/x", old.version),
        lambda: storage.read_range(f"{s3}/x", 0, 2, old.version),
    ):
        with pytest.raises(
            UnreadableError, match=f"has changed: it was 3 bytes, etag {old.etag}, "
        ):
            read()
        with pytest.raises(UnreadableError, match=f"now it is 5 bytes, etag {new.etag}"):
            read()


def test_a_larger_object_than_allowed_is_not_read(s3: str):
    storage.write(f"{s3}/x", b"0123456789")
    assert len(storage.read(f"{s3}/x", max_bytes=10)) == 10
    with pytest.raises(UnreadableError, match="has 10 bytes, limit 9"):
        storage.read(f"{s3}/x", max_bytes=9)


def test_missing_and_forbidden_objects_give_different_errors(
    s3: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
):
    storage.write(f"{s3}/x", b"content")
    if not s3_server.checks_credentials:
        pytest.skip(f"{s3_server.name} lets anybody do anything")
    with pytest.raises(MissingError, match="there is no such object"):
        storage.read(f"{s3}/y")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.stranger)
    disconnect()
    for read in (storage.read, storage.stat):
        with pytest.raises(UnreadableError, match=r"access is denied \(AccessDenied, HTTP 403\)"):
            read(f"{s3}/x")
    with pytest.raises(ConfigError, match=r"cannot be listed: access is denied"):
        list(storage.list(s3))
    with pytest.raises(ConfigError, match=r"cannot be written: access is denied"):
        storage.create(f"{s3}/z", b"")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"AWS_ACCESS_KEY_ID": "nobody"},
            "the server does not know the access key (InvalidAccessKeyId",
            id="unknown key",
        ),
        pytest.param(
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "the secret key does not belong to the access key (SignatureDoesNotMatch",
            id="wrong secret",
        ),
        pytest.param(
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "no AWS credentials were found: set AWS_PROFILE or",
            id="none",
        ),
        pytest.param(
            {"AWS_PROFILE": "absent"}, "profile (absent) could not be found", id="profile"
        ),
        pytest.param({"AWS_ENDPOINT_URL_S3": "nonsense"}, "Invalid endpoint: nonsense", id="url"),
        pytest.param({"FCOS_S3_ANONYMOUS": "maybe"}, "FCOS_S3_ANONYMOUS='maybe': ", id="knob"),
        pytest.param({"FCOS_S3_FAST": "1"}, "FCOS_S3_FAST='1': ", id="unknown knob"),
    ],
)
def test_a_wrong_setup_is_one_line_that_says_what_is_wrong(
    s3: str,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    message: str,
):
    if (
        not s3_server.checks_credentials
        and "ACCESS_KEY" in " ".join(changes)
        and all(changes.values())
    ):
        pytest.skip(f"{s3_server.name} takes any credentials")
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    for ask in (storage.read, storage.stat, storage.is_folder, lambda uri: storage.write(uri, b"")):
        disconnect()
        with pytest.raises(ConfigError) as caught:
            ask(f"{s3}/x")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
        assert "testsecret" not in str(caught.value)


def test_a_missing_bucket_is_named(s3: str):
    del s3
    for ask in (
        lambda: storage.read("s3://no-such-bucket/x"),
        lambda: storage.is_folder("s3://no-such-bucket"),
        lambda: list(storage.list("s3://no-such-bucket/x")),
        lambda: storage.create("s3://no-such-bucket/x", b""),
        lambda: storage.check_create("s3://no-such-bucket/run"),
    ):
        with pytest.raises(ConfigError, match=r"s3://no-such-bucket.*there is no such bucket"):
            ask()


def test_a_server_that_does_not_answer_is_a_storage_error(s3: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_ports(1)[0]}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    disconnect()
    with pytest.raises(StorageError, match="Could not connect to the endpoint") as caught:
        storage.read(f"{s3}/x")
    assert not isinstance(caught.value, UnreadableError)


def test_a_bucket_is_a_folder_and_no_object(s3: str):
    assert storage.is_folder(f"s3://{BUCKET}")
    assert storage.is_folder(f"s3://{BUCKET}/")
    assert storage.stat(f"s3://{BUCKET}") is None
    assert not storage.is_folder(s3)
    storage.write(f"{s3}/a/b", b"1")
    assert storage.is_folder(s3)
    assert storage.is_folder(f"{s3}/")
    assert not storage.is_folder(f"{s3}/a/b")
    assert storage.stat(f"{s3}/a") is None
    assert f"{s3}/a/b" in [info.uri for info in storage.list(f"s3://{BUCKET}")]


def test_the_check_of_conditional_writes_passes_and_leaves_nothing(s3: str):
    storage.check_create(f"{s3}/run")
    assert list(storage.list(s3)) == []


class Forgetful(http.server.BaseHTTPRequestHandler):
    """Accepts every PUT and ignores conditions, as older servers do."""

    protocol_version = "HTTP/1.1"
    heard: ClassVar[list[dict[str, str]]] = []

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        del format, args

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200)

    def do_DELETE(self) -> None:
        self._answer(204)

    def do_HEAD(self) -> None:
        self._answer(200)

    def do_GET(self) -> None:
        self._answer(200)

    def _answer(self, status: int) -> None:
        self.heard.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(status)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def forgetful(s3: str, monkeypatch: pytest.MonkeyPatch) -> Generator[str]:
    del s3  # only its environment
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Forgetful) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
        disconnect()
        Forgetful.heard.clear()
        yield endpoint
        disconnect()
        server.shutdown()
        thread.join()


def test_the_settings_of_s3_reach_its_requests(forgetful: str, monkeypatch: pytest.MonkeyPatch):
    del forgetful
    assert storage.read("s3://bucket/x") == b""
    assert storage.stat("s3://bucket/x") is not None
    assert all("authorization" in one for one in Forgetful.heard)
    assert not any("x-amz-request-payer" in one for one in Forgetful.heard)
    Forgetful.heard.clear()
    asked = DetectConfig(inputs=("x",), out="y", s3_anonymous=True, s3_requester_pays=True)
    for name, value in asked.storage_environment().items():
        monkeypatch.setenv(name, value)
    assert storage.read("s3://bucket/x") == b""
    assert storage.stat("s3://bucket/x") is not None
    # A read without a known version asks for it first.
    assert [one.get("x-amz-request-payer") for one in Forgetful.heard] == ["requester"] * 3
    assert not any("authorization" in one for one in Forgetful.heard)


def test_a_server_that_ignores_conditions_is_refused_by_its_address(
    forgetful: str, s3: str, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(ConfigError) as caught:
        storage.check_create(f"{s3}/run")
    monkeypatch.setenv("FCOS_S3_UNSAFE_COMMIT", "1")
    storage.check_create(f"{s3}/run")
    assert str(caught.value) == (
        f"'{s3}/run': the server at {forgetful} ignores If-None-Match, so one worker could replace "
        "another's finished file; use another --out, or pass --allow-unsafe-commit when nothing "
        "else writes there"
    )


def test_an_unsafe_commit_still_keeps_an_object_that_exists(
    s3: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FCOS_S3_UNSAFE_COMMIT", "1")
    disconnect()
    storage.check_create(s3)
    assert storage.create(f"{s3}/x", b"one")
    assert not storage.create(f"{s3}/x", b"two")
    assert storage.read(f"{s3}/x") == b"one"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_process_has_one_connection_and_a_forked_one_its_own(s3: str):
    storage.write(f"{s3}/x", b"content")
    with ThreadPoolExecutor(16) as threads:
        connections = set(threads.map(lambda _: connection(), range(64)))
    assert connections == {connection()}
    read_end, write_end = os.pipe()
    if (child := os.fork()) == 0:  # pragma: no cover -- in another process
        try:
            is_new = connection() not in connections
            os.write(write_end, storage.read(f"{s3}/x") if is_new else b"the parent's")
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        assert answer.read() == b"content"
    os.waitpid(child, 0)
    copy = pickle.loads(pickle.dumps(storage))  # noqa: S301 -- our own
    assert copy.read(f"{s3}/x") == b"content"


def test_local_commands_do_not_wait_for_boto3():
    code = (
        "import sys, jobs.storage; jobs.storage.storage_for('/x'); print('botocore' in sys.modules)"
    )
    assert run_python("-c", code).stdout.strip() == "False"


def test_credentials_of_a_profile_are_used(
    s3: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tmp_path / "config"
    config.write_text(
        f"[profile there]\naws_access_key_id = {s3_server.access_key}\n"
        f"aws_secret_access_key = {s3_server.secret_key}\nregion = us-east-1\n"
        f"endpoint_url = {s3_server.endpoint}\ns3 =\n  addressing_style = path\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "there")
    disconnect()
    storage.write(f"{s3}/x", b"content")
    assert storage.read(f"{s3}/x") == b"content"
