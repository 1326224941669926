"""Rows, items and whole runs for the tests of tables."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from jobs.rundir.directory import RunDirectory
from jobs.rundir.record import Category, RunRecord
from jobs.rundir.rows import ManifestItem, Row, items_to_table
from jobs.rundir.shard_writing import commit_shard, encode_shard

RUN_ID = "0123456789abcdef"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
int32s = st.integers(-(2**31), 2**31 - 1)
int64s = st.integers(-(2**63), 2**63 - 1)
sizes = st.integers(1, 2**31 - 1)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Draw any row that can be stored: awkward texts, NaN, minus zero, no detections."""
    frame_index = draw(st.none() | int32s)
    timestamp_s = None if frame_index is None else draw(st.none() | st.floats())
    item_id, image_id, uri = draw(int64s), draw(int64s), draw(texts)
    if draw(st.booleans()):
        return Row.quarantined(
            item_id=item_id,
            image_id=image_id,
            uri=uri,
            error_class=draw(texts),
            error=draw(texts),
            width=draw(st.none() | sizes),
            height=draw(st.none() | sizes),
            frame_index=frame_index,
            last_frame=None if frame_index is None else draw(st.none() | int32s),
            timestamp_s=timestamp_s,
        )
    num_detections = draw(st.integers(0, 3))
    floats = st.floats(width=32)
    return Row.ok(
        item_id=item_id,
        image_id=image_id,
        uri=uri,
        width=draw(sizes),
        height=draw(sizes),
        boxes=draw(npst.arrays(np.float32, (num_detections, 4), elements=floats)),
        scores=draw(npst.arrays(np.float32, num_detections, elements=floats)),
        category_ids=draw(npst.arrays(np.int32, num_detections, elements=int32s)),
        frame_index=frame_index,
        timestamp_s=timestamp_s,
    )


def an_image(item_id: int, shard: int) -> ManifestItem:
    """Plan one image."""
    return ManifestItem(
        item_id=item_id,
        shard=shard,
        kind="image",
        uri=f"/photos/{item_id} ä#%.jpg",
        image_id=item_id + 1,
    )


def a_segment(
    item_id: int, shard: int, *, image_id: int, first_frame: int, num_frames: int
) -> ManifestItem:
    """Plan one segment of a video."""
    return ManifestItem(
        item_id=item_id,
        shard=shard,
        kind="video_segment",
        uri="/videos/a.mp4",
        image_id=image_id,
        stream=0,
        time_base_num=1,
        time_base_den=25,
        first_frame=first_frame,
        num_frames=num_frames,
        start_pts=first_frame,
        end_pts=first_frame + num_frames - 1,
        decode_from_pts=first_frame,
        sampling="all",
    )


def images(num_items: int, *, shard_size: int = 4) -> list[ManifestItem]:
    """Plan some images."""
    return [an_image(i, i // shard_size) for i in range(num_items)]


def ok_row(item: ManifestItem, frame: int | None = None) -> Row:
    """Make a row with detections that depend on nothing but the item and the frame."""
    generator = np.random.default_rng([item.item_id, frame or 0])
    num_detections = int(generator.integers(0, 6))
    first_frame = item.first_frame or 0
    return Row.ok(
        item_id=item.item_id,
        image_id=item.image_id + (0 if frame is None else frame - first_frame),
        uri=item.uri,
        width=640,
        height=480,
        boxes=np.sort(generator.random((num_detections, 2, 2)) * 480, axis=1).reshape(-1, 4),
        scores=np.sort(generator.random(num_detections))[::-1],
        category_ids=generator.integers(1, 91, num_detections),
        frame_index=frame,
        timestamp_s=None if frame is None else frame / 25,
    )


def bad_row(
    item: ManifestItem,
    frame: int | None = None,
    error: str = "it is cut short",
    last: int | None = None,
) -> Row:
    """Make the row of an image, a frame, or frames to a last one, that could not be decoded."""
    first_frame = item.first_frame or 0
    return Row.quarantined(
        item_id=item.item_id,
        image_id=item.image_id + (0 if frame is None else frame - first_frame),
        uri=item.uri,
        error_class="ImageError" if frame is None else "VideoError",
        error=error,
        frame_index=frame,
        last_frame=frame if last is None else last,
    )


def a_record(run_id: str = RUN_ID) -> RunRecord:
    """Make the record of a run."""
    return RunRecord(
        run_id=run_id,
        fingerprint="f" * 64,
        fingerprint_fields={"batch_size": 8},
        config={"inputs": ["/photos"]},
        versions={"torch": "2.15.0"},
        weights_sha256="a" * 64,
        preset="torchvision",
        categories=tuple(Category(id=id_, name=f"thing_{id_}") for id_ in range(1, 91)),
        device="cpu",
        settings={"batch_size": 8, "threads_per_actor": 2},
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    )


def begin_run(folder: Path, items: Sequence[ManifestItem]) -> RunDirectory:
    """Write the manifest and the record of a run."""
    run = RunDirectory(str(folder))
    metadata = {"run_id": RUN_ID, "fingerprint": "f" * 64}
    assert run.create_manifest(items_to_table(items), metadata)
    assert run.create_run_record(a_record())
    return run


def commit_rows(
    run: RunDirectory, shard: int, of_shard: Sequence[Row], *, attempt: int | None = None
) -> None:
    """Commit a shard."""
    data = encode_shard(of_shard, run_id=RUN_ID, shard=shard)
    assert commit_shard(run, shard, data, attempt=attempt)


def finish_run(run: RunDirectory) -> None:
    """Commit all shards of images that are not there yet, each image ok."""
    committed = set(run.list_shards().shards.tolist())
    for shard, items in run.manifest().iterate():
        if shard not in committed:
            commit_rows(run, shard, [ok_row(item) for item in items])
