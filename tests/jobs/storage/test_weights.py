"""Where weights come from; downloads use a real server on this machine."""

import functools
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.hub

from fcos_core.errors import ConfigError
from jobs.storage import storage_for, weights
from jobs.storage.chunks import CHUNK_BYTES
from jobs.storage.local import LocalStorage
from jobs.storage.weights import PublishedWeights, resolve_weights

CONTENT = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; ``/short.pth`` breaks off, ``/stall.pth`` never ends."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
        del format, args

    def do_GET(self) -> None:
        if self.path not in {"/short.pth", "/stall.pth", "/drip.pth"}:
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100_000])
        if self.path == "/stall.pth":
            time.sleep(1.5)
        self.close_connection = True


class Server(http.server.ThreadingHTTPServer):
    """Ignores clients that close the connection."""

    def handle_error(self, request: object, client_address: object) -> None:
        del request, client_address


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("published")
    (folder / "good.pth").write_bytes(CONTENT)
    handler = functools.partial(Handler, directory=str(folder))
    with Server(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def published(server: str, name: str = "good.pth", prefix: str = SHA256[:8]) -> PublishedWeights:
    return PublishedWeights(url=f"{server}/{name}", sha256_prefix=prefix, max_bytes=10 << 20)


def test_coco_is_downloaded_once_and_then_reused(server: str, tmp_path: Path):
    cache = tmp_path / "hub" / "checkpoints"
    first = resolve_weights("coco", published=published(server), cache=cache)
    assert (first.path, first.sha256, first.spec) == (cache / "good.pth", SHA256, "coco")
    assert first.path.read_bytes() == CONTENT
    nobody = published("http://127.0.0.1:9")
    assert resolve_weights("coco", published=nobody, cache=cache) == first
    assert [path.name for path in cache.iterdir()] == ["good.pth"]


def test_the_address_of_coco_stands_for_coco(server: str, tmp_path: Path):
    one = published(server)
    assert resolve_weights(one.url, published=one, cache=tmp_path).path == tmp_path / "good.pth"


def test_a_damaged_cached_file_is_downloaded_again(server: str, tmp_path: Path):
    (tmp_path / "good.pth").write_bytes(CONTENT[:-1])
    assert resolve_weights("coco", published=published(server), cache=tmp_path).sha256 == SHA256
    assert (tmp_path / "good.pth").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "prefix", "reason"),
    [
        pytest.param("absent.pth", SHA256[:8], "HTTP Error 404", id="not there"),
        pytest.param("good.pth", "00000000", "one that begins with 00000000", id="other file"),
        pytest.param("short.pth", SHA256[:8], "sha256", id="broken off"),
        pytest.param("stall.pth", SHA256[:8], "timed out", id="stalled"),
    ],
)
def test_a_failed_download_says_what_to_do_and_leaves_nothing(
    server: str, tmp_path: Path, name: str, prefix: str, reason: str
):
    wrong = published(server, name, prefix)
    with pytest.raises(ConfigError, match=reason) as caught:
        resolve_weights("coco", published=wrong, cache=tmp_path, timeout_s=0.5)
    message = str(caught.value)
    assert "\n" not in message
    assert wrong.url in message
    assert "--weights PATH" in message
    assert list(tmp_path.iterdir()) == []


def test_more_than_the_limit_is_not_kept(server: str, tmp_path: Path):
    one = PublishedWeights(url=f"{server}/good.pth", sha256_prefix="", max_bytes=1000)
    with pytest.raises(ConfigError, match="more than 1000 bytes"):
        resolve_weights("coco", published=one, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_has_a_deadline(server: str, tmp_path: Path):
    with pytest.raises(ConfigError, match="before the deadline"):
        resolve_weights("coco", published=published(server), cache=tmp_path, deadline_s=0)


def test_without_a_network_coco_fails_at_once(tmp_path: Path):
    began_s = time.monotonic()
    with pytest.raises(ConfigError, match="--weights PATH"):
        resolve_weights("coco", published=published("http://127.0.0.1:9"), cache=tmp_path)
    assert time.monotonic() - began_s < 5


def test_weights_on_s3_are_copied_once_for_each_version(s3: str, tmp_path: Path):
    uri = f"{s3}/my model.safetensors"
    storage_for(uri).write(uri, CONTENT)
    first = resolve_weights(uri, cache=tmp_path)
    assert (first.sha256, first.spec, first.path.suffix) == (SHA256, uri, ".safetensors")
    assert first.path.read_bytes() == CONTENT
    written_ns = first.path.stat().st_mtime_ns
    assert resolve_weights(uri, cache=tmp_path) == first
    assert first.path.stat().st_mtime_ns == written_ns
    first.path.write_bytes(CONTENT[:-1])
    assert resolve_weights(uri, cache=tmp_path).path.read_bytes() == CONTENT
    storage_for(uri).write(uri, b"another")
    second = resolve_weights(uri, cache=tmp_path)
    assert second.sha256 == hashlib.sha256(b"another").hexdigest()
    assert sorted(tmp_path.iterdir()) == sorted([first.path, second.path])


def test_missing_weights_on_s3_are_refused_in_one_line(s3: str, tmp_path: Path):
    for uri in (f"{s3}/none.pth", s3):
        with pytest.raises(ConfigError, match=r"weights 's3://.*: no such file") as caught:
            resolve_weights(uri, cache=tmp_path)
        assert "\n" not in str(caught.value)


def test_the_default_folder_is_torch_hubs(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = resolve_weights("coco", published=published(server))
    assert found.path == tmp_path / "hub" / "checkpoints" / "good.pth"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"XDG_CACHE_HOME": "/caches"},
        {"TORCH_HOME": "~/of torch", "XDG_CACHE_HOME": "/caches"},
        {"TORCH_HOME": "here"},
    ],
)
def test_the_default_folder_is_the_one_that_torch_says(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
):
    monkeypatch.chdir(tmp_path)
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), **variables}.items():
        monkeypatch.setenv(name, value.replace("/caches", f"{tmp_path}/caches"))
    found = resolve_weights("coco", published=published(server))
    assert found.path == Path(torch.hub.get_dir()) / "checkpoints" / "good.pth"


def test_the_published_file_is_torchvisions():
    from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

    assert weights.COCO.url == FCOS_ResNet50_FPN_Weights.COCO_V1.url
    assert weights.COCO.sha256_prefix in weights.COCO.file_name


def test_a_path_and_a_file_uri_are_taken(tmp_path: Path):
    path = tmp_path / "my weights.pth"
    path.write_bytes(CONTENT)
    for spec in (str(path), f"file://{tmp_path}/my%20weights.pth"):
        found = resolve_weights(spec)
        assert (found.path, found.sha256, found.spec) == (path, SHA256, spec)


def test_weights_rewritten_while_they_are_hashed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "w.pth"
    path.write_bytes(bytes(3 * CHUNK_BYTES))
    read_range = LocalStorage.read_range

    def rewrite_after_reading(self: LocalStorage, uri: str, start: int, *rest: Any) -> bytes:
        data = read_range(self, uri, start, *rest)
        with path.open("r+b") as file:
            file.write(b"new")
        return data

    monkeypatch.setattr(LocalStorage, "read_range", rewrite_after_reading)
    with pytest.raises(ConfigError, match=r"weights .*w.pth': .* has changed: it was "):
        resolve_weights(str(path))


def test_weights_rewritten_after_they_were_hashed_are_noticed(tmp_path: Path):
    path = tmp_path / "w.pth"
    path.write_bytes(CONTENT)
    found = resolve_weights(str(path))
    found.check_unchanged()
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(ConfigError, match=r"w.pth' were changed while they were read"):
        found.check_unchanged()
    path.unlink()
    with pytest.raises(ConfigError, match=r"w.pth' were changed while they were read"):
        found.check_unchanged()


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param("cocoo", "did you mean 'coco'", id="misspelt"),
        pytest.param("/no/such/weights.pth", "known names are coco, demo", id="no such file"),
        pytest.param("/", "folder", id="folder"),
        pytest.param("https://example.com/w.pth", "pass --weights PATH", id="any address"),
        pytest.param("gs://bucket/w.pth", "no storage for gs://", id="gs"),
        pytest.param("", "not a path", id="empty"),
    ],
)
def test_weights_that_do_not_exist_are_refused_in_one_line(spec: str, reason: str):
    with pytest.raises(ConfigError, match=reason) as caught:
        resolve_weights(spec)
    assert "\n" not in str(caught.value)
