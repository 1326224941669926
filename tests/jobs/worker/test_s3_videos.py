"""Videos in a bucket: the frames of local files, by ranges, and never two versions in one run."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from fcos_core.errors import StorageError
from jobs.inputs.video_frames import LoadedFrame, load_frames
from jobs.media.video import Frame
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem, items_to_table
from jobs.rundir.shard import Shard
from jobs.storage.s3.client import disconnect
from jobs.storage.s3.storage import S3Storage
from jobs.worker.worker import Worker
from tests.chaos.proxy import FaultProxy, Faults
from tests.jobs.media.video.making import RECIPES, Recipe, write_audio, write_video
from tests.jobs.worker.runs import RUN_ID, record_run, rows_of, worker_settings
from tests.jobs.worker.test_s3_run import assert_same_but_for_the_uri, upload
from tests.jobs.worker.test_videos import compute, plan
from tests.s3_servers import S3Server

pytestmark = pytest.mark.usefixtures("_kept_threads")

MIB = 2**20

storage = S3Storage()


def write_noise(path: Path, *, num_frames: int = 120, seed: int = 0) -> Path:
    """A video that is large for its length: ten groups of images of some two megabytes each."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"qmin": "1", "qmax": "1"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        stream.codec_context.gop_size = 12
        for _ in range(num_frames):
            pixels = random.integers(0, 256, (240, 320, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def frames_of(loaded: Iterator[LoadedFrame]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for one in loaded:
        assert isinstance(one.event, Frame), one.error
        found.append((one.event.index, hash(one.event.pixels.tobytes())))
    return found


def test_rows_of_videos_on_s3_are_those_on_disk(
    s3: str, tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    write_video(folder, Recipe(name="a.mp4", options=RECIPES["open_gop"].options))
    write_video(folder, Recipe(name="b.mkv", num_frames=30, options={"bf": "2"}))
    whole = write_video(folder, Recipe(name="c.mp4", num_frames=36)).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_audio(folder)
    (folder / "0.png").write_bytes((images / "00.png").read_bytes())
    local = compute(tmp_path / "local", plan(folder), tiny_weights)
    on_s3 = compute(f"{s3}/run", plan(upload(folder, f"{s3}/mixed")), tiny_weights)
    for proof in (local, on_s3):
        assert proof.complete, proof.problems
    assert (on_s3.ok, on_s3.quarantined) == (local.ok, local.quarantined)
    assert_same_but_for_the_uri(
        *(
            [row for number, _ in run.manifest().iterate() for row in rows_of(run, number)]
            for run in (RunDirectory(f"{s3}/run"), RunDirectory(str(tmp_path / "local")))
        )
    )


def test_a_segment_fetches_its_own_part_of_the_object(
    s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_noise(tmp_path / "noise.mp4")
    size = path.stat().st_size
    assert size > 12 * MIB
    items = plan(upload(path.parent, s3), shard_size=12)
    assert len(items) == 10
    fetched: list[int] = []
    read_range = S3Storage.read_range

    def counted(self: S3Storage, *arguments: object) -> bytes:
        data = read_range(self, *arguments)
        fetched.append(len(data))
        return data

    monkeypatch.setattr(S3Storage, "read_range", counted)
    expected = frames_of(load_frames(plan(path, shard_size=1000)[0]))
    assert fetched == []  # it lies on disk
    found: list[tuple[int, int]] = []
    for item in items:
        before = sum(fetched)
        found += frames_of(load_frames(item))
        # The index at the file's end, the first packet and the segment: each to the next mebibyte.
        assert sum(fetched) - before < size / 10 + 5 * MIB
    assert found == expected


def test_a_video_that_is_overwritten_during_the_run_is_quarantined_as_changed(
    s3: str, tmp_path: Path, tiny_weights: Path
) -> None:
    path = write_noise(tmp_path / "noise.mp4", num_frames=60)
    other = write_noise(tmp_path / "other.mp4", num_frames=60, seed=1)
    uri = f"{s3}/noise.mp4"
    storage.write(uri, path.read_bytes())
    items = plan(uri, shard_size=12)
    run = RunDirectory(f"{s3}/run")
    assert run.create_manifest(items_to_table(items), {"run_id": RUN_ID, "fingerprint": "0"})
    record_run(run)
    worker = Worker(worker_settings(run, tiny_weights, max_pixels=10**6))
    shards = [Shard(number, tuple(group)) for number, group in run.manifest().iterate()]
    for shard in shards:
        if shard.number == 2:
            storage.write(uri, other.read_bytes())
        worker.process(shard)
    worker.close()
    rows = [row for shard in shards for row in rows_of(run, shard.number)]
    assert [row.frame_index for row in rows if row.status == "ok"] == list(range(24))
    lost = [row for row in rows if row.status != "ok"]
    assert [(row.frame_index, row.last_frame) for row in lost] == [(24, 35), (36, 47), (48, 59)]
    assert all("has changed since the run was planned" in (row.error or "") for row in lost)


def test_two_versions_of_a_video_are_never_mixed_in_one_segment(s3: str, tmp_path: Path) -> None:
    path = write_noise(tmp_path / "noise.mp4")
    other = write_noise(tmp_path / "other.mp4", seed=1)
    uri = f"{s3}/noise.mp4"
    storage.write(uri, path.read_bytes())
    (item,) = plan(uri, shard_size=1000)
    loading = load_frames(item)
    assert isinstance(next(loading).event, Frame)
    storage.write(uri, other.read_bytes())
    with pytest.raises(StorageError, match=r"noise.mp4' has changed: it was"):
        frames_of(loading)  # the shard is retried, and then:
    (lost,) = load_frames(item)
    assert "has changed since the run was planned" in str(lost.error)


def test_bodies_that_break_off_change_no_frame(
    s3: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_noise(tmp_path / "noise.mp4", num_frames=60)
    uri = f"{s3}/noise.mp4"
    storage.write(uri, path.read_bytes())
    items: list[ManifestItem] = plan(uri, shard_size=12)
    calm = [frames_of(load_frames(item)) for item in items]
    with FaultProxy(s3_server.endpoint, Faults(seed=3, rate=0.5, kinds=("truncate",))) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        disconnect()
        assert [frames_of(load_frames(item)) for item in items] == calm
        disconnect()
    assert proxy.met["truncate"] > 3
