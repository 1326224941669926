"""Videos in a run: indexed in child processes, computed by a worker, proved frame by frame."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from fcos_core.errors import StorageError
from jobs.inputs.item_bytes import without_version
from jobs.inputs.sources import enumerate_inputs
from jobs.inputs.video_frames import load_frames
from jobs.inputs.video_index import VideoRequest, plan_videos
from jobs.media.video import Sampling, VideoSource, decode_segment, index_video, split
from jobs.planning.manifest import make_manifest
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import Proof, prove
from jobs.rundir.rows import ManifestItem, Row, items_to_table
from jobs.rundir.shard import Shard
from jobs.worker.prefetch import Prefetcher
from jobs.worker.prefetched import LoadedImage
from jobs.worker.worker import Worker
from tests.jobs.media.video.making import RECIPES, Recipe, write_audio, write_video
from tests.jobs.media.video.planted_crashes import plant
from tests.jobs.worker.runs import RUN_ID, record_run, rows_of, worker_settings

pytestmark = pytest.mark.usefixtures("_kept_threads")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """Two videos that can be split, one that cannot, one damaged, two unusable, two images."""
    folder = tmp_path_factory.mktemp("mixed")
    write_video(folder, Recipe(name="a.mp4", options=RECIPES["open_gop"].options))
    write_video(folder, Recipe(name="b.mkv", num_frames=30, options={"bf": "2"}))
    write_video(folder, Recipe(name="c.avi", codec="mpeg4", num_frames=20, options={"bf": "2"}))
    options = {"bf": "2", "sc_threshold": "0"}
    damaged = write_video(folder, Recipe(name="d.mp4", num_frames=36, options=options))
    spoil(damaged, 16)
    write_audio(folder)
    (folder / "empty.webm").write_bytes(b"")
    for name in ("00.png", "01.png"):
        shutil.copy(images / name, folder / name)
    return folder


def spoil(path: Path, packet: int) -> None:
    """Overwrite the content of one packet."""
    with av.open(str(path)) as container:
        packets = [found for found in container.demux(video=0) if found.size]
        place, size = packets[packet].pos, packets[packet].size
    assert place is not None
    data = bytearray(path.read_bytes())
    data[place + 6 : place + size] = b"\xa5" * (size - 6)
    path.write_bytes(data)


def plan(
    inputs: Path | str, *, shard_size: int = 16, sampling: Sampling | None = None
) -> list[ManifestItem]:
    listing = enumerate_inputs([str(inputs)])
    request = VideoRequest(sampling=sampling or Sampling(), rows_per_segment=min(shard_size, 256))
    uris = [item.uri for item in listing.items if item.is_video]
    return make_manifest(listing, shard_size, plan_videos(uris, request, address=None))


def compute(out: Path | str, items: list[ManifestItem], weights: Path, *, start: int = 0) -> Proof:
    """Begin a run if there is none, and compute its shards from some number on."""
    run = RunDirectory(str(out))
    if not run.exists():
        assert run.create_manifest(items_to_table(items), {"run_id": RUN_ID, "fingerprint": "0"})
        record_run(run)
    worker = Worker(worker_settings(run, weights))
    for number, group in run.manifest().iterate():
        if number >= start:
            worker.process(Shard(number, tuple(group)))
    worker.close()
    return prove(run)


def rows_by_video(out: Path) -> dict[str, list[Row]]:
    run = RunDirectory(str(out))
    found: dict[str, list[Row]] = {}
    for number in run.list_shards().shards.tolist():
        for row in rows_of(run, number):
            found.setdefault(Path(row.uri).name, []).append(row)
    return found


def test_every_frame_has_a_row_and_the_same_run_gives_the_same_digest(
    tmp_path: Path, folder: Path, tiny_weights: Path
) -> None:
    items = plan(folder)
    proof = compute(tmp_path / "run", items, tiny_weights)
    assert proof.complete, proof.problems
    assert proof.planned == 60 + 30 + 20 + 36 + 1 + 1 + 2
    rows = rows_by_video(tmp_path / "run")
    assert [row.frame_index for row in rows["a.mp4"]] == list(range(60))
    assert [row.timestamp_s for row in rows["a.mp4"]] == [i / 25 for i in range(60)]
    assert all((row.width, row.height) == (64, 48) for row in rows["a.mp4"])
    assert sum(len(row.scores) for row in rows["a.mp4"]) > 0
    image_ids = [
        row.image_id
        for name in ("00.png", "01.png", "a.mp4", "b.mkv", "c.avi")
        for row in rows[name]
    ]
    assert image_ids == list(range(1, 113))

    (lost,) = [row for row in rows["d.mp4"] if row.status == "quarantined"]
    assert (lost.last_frame, lost.error_class) == (23, "VideoError")
    assert 12 < (lost.frame_index or 0) <= 18
    others = [row.frame_index for row in rows["d.mp4"] if row.status == "ok"]
    assert others == [*range(lost.frame_index or 0), *range(24, 36)]
    assert f"frames {lost.frame_index} to 23 are lost" in (lost.error or "")

    for name, reason in (("sound.mp4", "no video stream"), ("empty.webm", "cannot be opened")):
        (row,) = rows[name]
        assert row.status == "quarantined"
        assert reason in (row.error or "")
    assert compute(tmp_path / "again", items, tiny_weights).digest == proof.digest


def test_the_size_of_segments_and_shards_changes_no_row(
    tmp_path: Path, folder: Path, tiny_weights: Path
) -> None:
    found: list[dict[tuple[str, int | None], tuple[object, ...]]] = []
    for shard_size in (7, 1000):
        items = plan(folder, shard_size=shard_size)
        assert compute(tmp_path / str(shard_size), items, tiny_weights).complete
        found.append(
            {
                (name, row.frame_index): (
                    row.image_id,
                    row.last_frame,
                    row.timestamp_s,
                    row.status,
                    row.error,
                    row.boxes.tobytes(),
                    row.scores.tobytes(),
                )
                for name, rows in rows_by_video(tmp_path / str(shard_size)).items()
                for row in rows
            }
        )
    assert len({item.shard for item in plan(folder, shard_size=7)}) > 10
    assert found[0].keys() == found[1].keys()
    # Batches differ with the shards, and with them the last bits; everything else is equal.
    assert {key: value[:5] for key, value in found[0].items()} == {
        key: value[:5] for key, value in found[1].items()
    }


def test_a_sampled_run_has_rows_of_its_sample_only(
    tmp_path: Path, folder: Path, tiny_weights: Path
) -> None:
    items = plan(folder, sampling=Sampling(every_n_frames=7))
    proof = compute(tmp_path / "run", items, tiny_weights)
    assert proof.complete, proof.problems
    rows = rows_by_video(tmp_path / "run")
    assert [row.frame_index for row in rows["a.mp4"]] == list(range(0, 60, 7))
    assert [row.frame_index for row in rows["c.avi"]] == [0, 7, 14]
    ids = [row.image_id for name in sorted(rows) for row in rows[name]]
    assert sorted(ids) == list(range(1, proof.planned + 1))


def test_shards_that_an_interrupted_run_left_are_computed_by_the_next(
    tmp_path: Path, folder: Path, tiny_weights: Path
) -> None:
    items = plan(folder)
    whole = compute(tmp_path / "whole", items, tiny_weights)
    half = compute(tmp_path / "half", items, tiny_weights, start=4)
    assert not half.complete
    run = RunDirectory(str(tmp_path / "half"))
    worker = Worker(worker_settings(run, tiny_weights))
    for number, group in run.manifest().iterate():
        if number < 4:
            worker.process(Shard(number, tuple(group)))
    worker.close()
    assert prove(run).digest == whole.digest


def test_frames_are_prefetched_within_the_budget(tmp_path: Path) -> None:
    path = write_video(tmp_path, Recipe(num_frames=120, size=(128, 96)))
    items = plan(path, shard_size=30)
    assert len(items) >= 3
    frame_bytes = 128 * 96 * 3
    prefetcher = Prefetcher(
        lambda _: b"",
        bytes_in_flight=40 * frame_bytes,
        max_pixels=10**6,
        fetch_threads=2,
        decode_threads=2,
    )
    try:
        loading = prefetcher.prefetch(items)
        loaded: list[LoadedImage] = []
        for one in loading:
            assert one.pixels is not None
            loaded.append(one)
        assert [one.frame_index for one in loaded] == list(range(120))
        assert 0 < prefetcher.decoded.peak_bytes <= 30 * frame_bytes
        assert prefetcher.decoded.used_bytes == 0
        left = prefetcher.prefetch(items)
        assert next(iter(left)).frame_index == 0
        left.close()
        assert prefetcher.decoded.used_bytes == 0
    finally:
        prefetcher.close()


def test_the_frames_of_a_worker_are_those_of_the_decoder(tmp_path: Path) -> None:
    path = write_video(tmp_path, RECIPES["x265_open_gop"])
    index = index_video(VideoSource(str(path)))
    expected = list(decode_segment(VideoSource(str(path)), split(index, 1)[0]))
    prefetcher = Prefetcher(
        lambda _: b"", bytes_in_flight=2**20, max_pixels=10**6, fetch_threads=1, decode_threads=2
    )
    try:
        found = list(prefetcher.prefetch(plan(path, shard_size=12)))
    finally:
        prefetcher.close()
    assert len(found) == len(expected) == 60
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.pixels, other.pixels)


def test_a_video_that_is_overwritten_while_it_is_decoded_gives_no_segment_of_two_versions(
    tmp_path: Path,
) -> None:
    path = write_video(tmp_path, Recipe(num_frames=60))
    other = write_video(tmp_path, Recipe(name="other.mp4", num_frames=60, gop=6))
    (item,) = plan(path, shard_size=100)
    loading = load_frames(item)
    next(loading)
    path.write_bytes(other.read_bytes())
    with pytest.raises(StorageError, match=r"clip.mp4: has changed while it was read"):
        list(loading)  # the shard is retried, and then:
    (lost,) = load_frames(item)
    assert "has changed since the run was planned" in str(lost.error)


def test_a_video_of_unknown_version_that_is_overwritten_gives_no_segment_of_two_either(
    tmp_path: Path,
) -> None:
    path = write_video(tmp_path, Recipe(num_frames=60))
    other = write_video(tmp_path, Recipe(name="other.mp4", num_frames=60, gop=6))
    (item,) = plan(path, shard_size=100)
    loading = load_frames(without_version(item))
    next(loading)
    path.write_bytes(other.read_bytes())
    with pytest.raises(StorageError, match=r"clip.mp4: has changed while it was read"):
        list(loading)


def test_a_video_that_kills_the_process_that_indexes_it_is_quarantined_alone(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("0.mp4", "killer.mp4", "x.mp4", "y.mp4")
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in names:
        write_video(folder, Recipe(name=name, num_frames=3))
    monkeypatch.syspath_prepend(plant(tmp_path, mark="killer", code="os.kill(os.getpid(), 11)"))
    proof = compute(tmp_path / "run", plan(folder), tiny_weights)
    assert proof.complete, proof.problems
    assert (proof.ok, proof.quarantined) == (9, 1)
    rows = rows_by_video(tmp_path / "run")
    (row,) = rows["killer.mp4"]
    assert (row.status, row.error_class) == ("quarantined", "VideoError")
    assert "the process that works on it dies: killed by SIGSEGV" in (row.error or "")
