"""Runs over images and videos, as ``detect`` leaves them, and annotations of their frames."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem, Row, items_to_table
from jobs.rundir.sampled_frames import EVERY_FRAME, write_sampling
from jobs.rundir.shard_writing import commit_shard, encode_shard
from tests.jobs.scoring.runs import CATEGORIES, Detection, record_of_a_test

TICKS = 512  # of a frame
SIZE = (100, 80)


@dataclass
class Clip:
    """A video: the places of the frames that each segment takes; None where it is of no use.

    ``detections`` are by frame; ``lost`` are first and last frame of quarantined rows.
    """

    uri: str
    segments: Sequence[Sequence[int]] | None
    detections: Mapping[int, list[Detection]] = field(default_factory=dict[int, list[Detection]])
    lost: Sequence[tuple[int, int]] = ()
    is_sampled: bool = False


@dataclass
class Still:
    """An image."""

    uri: str
    detections: list[Detection] = field(default_factory=list[Detection])


Entry = dict[str, Any]


def still(id_: int, file_name: str) -> Entry:
    return {"id": id_, "file_name": file_name, "width": SIZE[0], "height": SIZE[1]}


def frame(id_: int, video: str, frame_index: int) -> Entry:
    place = {"video": video, "frame_index": frame_index}
    return {"id": id_, **place, "width": SIZE[0], "height": SIZE[1]}


def write_entries(
    folder: Path, images: Sequence[Entry], boxes: Sequence[tuple[int, int, list[float]]]
) -> str:
    """Write a COCO file; boxes are image id, category id and xywh."""
    document = {
        "images": list(images),
        "annotations": [
            {"id": n + 1, "image_id": image_id, "category_id": category_id, "bbox": bbox}
            for n, (image_id, category_id, bbox) in enumerate(boxes)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    path = folder / "mixed.json"
    path.write_text(json.dumps(document))
    return str(path)


def make_mixed_run(
    folder: Path,
    sources: Sequence[Clip | Still],
    *,
    per_shard: int = 1,
    without: Sequence[int] = (),
) -> str:
    """Write a run of these sources, so many items per shard, ``without`` some shards."""
    folder.mkdir(exist_ok=True)
    run = RunDirectory(str(folder / "RUN"))
    items: list[ManifestItem] = []
    rows: dict[int, list[Row]] = {}
    next_id = 1
    for source in sources:
        for fields, frames in _pieces(source):
            number = len(items)
            shard = number // per_shard
            item = ManifestItem(
                item_id=number, shard=shard, uri=source.uri, image_id=next_id, **fields
            )
            items.append(item)
            rows.setdefault(shard, []).extend(_rows(item, source, frames))
            next_id += item.num_frames or 1
    run.create_manifest(items_to_table(items), {"run_id": "r1", "fingerprint": "f"})
    run.create_run_record(record_of_a_test(CATEGORIES))
    for shard, own in rows.items():
        if shard not in without:
            assert commit_shard(run, shard, encode_shard(own, run_id="r1", shard=shard))
    return run.uri


def _pieces(source: Clip | Still) -> Iterator[tuple[dict[str, Any], Sequence[int]]]:
    if isinstance(source, Still):
        yield {"kind": "image"}, ()
        return
    unusable = {"first_frame": 0, "num_frames": 1, "sampling": EVERY_FRAME}
    if source.segments is None:
        yield {"kind": "video_segment", **unusable}, (0,)
    for frames in source.segments or ():
        places = np.array(frames, np.int64)
        sampling = write_sampling(places, places * TICKS) if source.is_sampled else EVERY_FRAME
        yield (
            {
                "kind": "video_segment",
                "width": SIZE[0],
                "height": SIZE[1],
                "stream": 0,
                "time_base_num": 1,
                "time_base_den": 25 * TICKS,
                "first_frame": frames[0],
                "num_frames": len(frames),
                "start_pts": frames[0] * TICKS,
                "end_pts": frames[-1] * TICKS,
                "decode_from_pts": frames[0] * TICKS,
                "sampling": sampling,
            },
            frames,
        )


def _rows(item: ManifestItem, source: Clip | Still, frames: Sequence[int]) -> Iterator[Row]:
    if isinstance(source, Still):
        yield _row(item, 0, None, source.detections)
        return
    lost = {place for first, last in source.lost for place in range(first, last + 1)}
    starts = {0: 0} if source.segments is None else dict(source.lost)
    for number, place in enumerate(frames):
        if source.segments is None or place in starts:
            yield Row.quarantined(
                item_id=item.item_id,
                image_id=item.image_id + number,
                uri=item.uri,
                frame_index=place,
                last_frame=starts[place],
                error_class="VideoError",
                error=f"{item.uri}: damaged",
            )
        elif place not in lost:
            yield _row(item, number, place, source.detections.get(place, []))


def _row(item: ManifestItem, number: int, place: int | None, found: list[Detection]) -> Row:
    found = sorted(found, key=lambda detection: -detection[1])
    return Row.ok(
        item_id=item.item_id,
        image_id=item.image_id + number,
        uri=item.uri,
        frame_index=place,
        timestamp_s=None if place is None else place / 25,
        width=SIZE[0],
        height=SIZE[1],
        boxes=[box for _, _, box in found],
        scores=[score for _, score, _ in found],
        category_ids=[category_id for category_id, _, _ in found],
    )
