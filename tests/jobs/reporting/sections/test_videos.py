"""Videos on the page: accuracy of their frames, a row for each video, and exact frames."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcos_core.errors import VideoError
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.media.video import VideoSource, decode_segment, index_video, split
from jobs.reporting.examples.frames import FrameReader
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem, Row, items_to_table
from jobs.rundir.sampled_frames import EVERY_FRAME
from jobs.rundir.shard_writing import commit_shard, encode_shard
from tests.jobs.media.video.making import SIZE, Recipe, write_video
from tests.jobs.reporting.runs import CATEGORIES, RUN_ID, found, write_image
from tests.jobs.reporting.scored import page_of
from tests.jobs.scoring.runs import record_of_a_test

BOX = (10.0, 10.0, 40.0, 40.0)
OPTIONS = {"bf": "2", "sc_threshold": "0"}  # key frames every 12 frames: segments of 36 and 24
CAT = [10.0, 10.0, 30.0, 30.0]


def items_of(path: Path, *, first_item: int = 0, first_id: int = 1) -> list[ManifestItem]:
    index = index_video(VideoSource(str(path)))
    items: list[ManifestItem] = []
    for number, segment in enumerate(split(index, 2)):
        items.append(
            ManifestItem(
                item_id=first_item + number,
                shard=first_item + number,
                kind="video_segment",
                uri=str(path),
                image_id=first_id + segment.first_frame,
                width=index.width,
                height=index.height,
                stream=segment.stream,
                time_base_num=segment.time_base.numerator,
                time_base_den=segment.time_base.denominator,
                first_frame=segment.first_frame,
                num_frames=segment.num_frames,
                start_pts=segment.start_pts,
                end_pts=segment.end_pts,
                decode_from_pts=segment.decode_from_pts,
                sampling=EVERY_FRAME,
            )
        )
    return items


def rows_of(items: list[ManifestItem], *, hits: range) -> list[Row]:
    rows: list[Row] = []
    for item in items:
        for number, place in enumerate(item.frames()):
            boxes = [(1, 0.9, BOX)] if place in hits else []
            size = {"width": SIZE[0], "height": SIZE[1]}
            row = found(
                item.item_id,
                item.uri,
                boxes,
                frame_index=place,
                timestamp_s=(place or 0) / 25,
                **size,
            )
            rows.append(replace(row, image_id=item.image_id + number))
    return rows


def write_mixed_run(folder: Path, *, num_images: int = 1, **clip: Any) -> RunDirectory:
    """Images with a cat that is found, and a video of 60 frames with one found on every other."""
    video = write_video(folder, Recipe(name="clip.mp4", options=OPTIONS, **clip))
    items, rows, images = [], [], []
    for i in range(num_images):
        write_image(folder / f"{i}.jpg", seed=i)
        uri = str(folder / f"{i}.jpg")
        items.append(ManifestItem(item_id=i, shard=i, kind="image", uri=uri, image_id=i + 1))
        rows.append(found(i, uri, [(1, 0.9, BOX)]))
        images.append({"id": i + 1, "file_name": f"{i}.jpg", "width": 96, "height": 64})
    segments = items_of(video, first_item=num_images, first_id=num_images + 1)
    rows += rows_of(segments, hits=range(30))
    items += segments
    images += [
        {"id": 100 + i, "video": "clip.mp4", "frame_index": i, "width": SIZE[0], "height": SIZE[1]}
        for i in range(60)
    ]
    run = RunDirectory(str(folder / "RUN"))
    run.create_manifest(items_to_table(items), {"run_id": RUN_ID, "fingerprint": "f"})
    run.create_run_record(record_of_a_test(CATEGORIES).model_copy(update={"run_id": RUN_ID}))
    for item in items:
        own = [row for row in rows if row.item_id == item.item_id]
        assert commit_shard(run, item.shard, encode_shard(own, run_id=RUN_ID, shard=item.shard))
    document = {
        "images": images,
        "annotations": [
            {"id": n + 1, "image_id": image["id"], "category_id": 1, "bbox": CAT}
            for n, image in enumerate(images)
        ],
        "categories": [{"id": id_, "name": name} for id_, name in CATEGORIES.items()],
    }
    (folder / "mixed.json").write_text(json.dumps(document))
    evaluate(EvaluateConfig(run=run.uri, annotations=str(folder / "mixed.json")))
    return run


def write_events(run: RunDirectory, seconds: dict[int, float]) -> None:
    stamp = "2025-01-01T00:00:0{}+00:00"
    events: list[dict[str, Any]] = [{"time": stamp.format(0), "event": "begin", "attempt": None}]
    shard = {"event": "shard", "num_ok": 1, "num_quarantined": 0, "created": True, "device": "cpu"}
    for number, busy in seconds.items():
        events.append({"time": stamp.format(5), "shard": number, "seconds": busy, **shard})
    path = Path(run.event_uri("x.jsonl"))
    path.parent.mkdir()
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def test_frames_are_scored_separately_and_every_video_has_a_row(tmp_path: Path):
    run = write_mixed_run(tmp_path)
    write_events(run, {1: 2.0, 2: 1.0})

    page = page_of(run)

    shown = [float(one.attributes["value"]) for one in page.named("data")]
    metrics = json.loads(Path(run.evaluation_uri("metrics.json")).read_text())
    names = [name for name in metrics if name.startswith(("AP", "AR"))]
    assert shown == [metrics[n] for n in names] + [metrics["video"][n] for n in names]
    assert (metrics["AR100"], metrics["video"]["AR100"]) == (1.0, 0.5)
    assert "1 video with 60 frames" in page.text
    cells = [
        one.attributes["data-value"] for one in page.named("td") if "data-value" in one.attributes
    ]
    assert ["60", "0", "0", "30", "20.0"] in [cells[i : i + 5] for i in range(len(cells))]
    assert "61 of 61 images and frames processed" in page.text


def test_the_best_and_worst_frames_are_shown_with_their_numbers_and_times(tmp_path: Path):
    page = page_of(write_mixed_run(tmp_path))

    shown = [one.attributes["alt"] for one in page.named("img") if "src" in one.attributes]
    hit = "F1 1.00: 1 of 1 object found, 0 false positives"
    miss = "F1 0.00: 0 of 1 object found, 0 false positives"
    # One of each segment and each 32 frames: of equal ones the first.
    best = [("0 (0.00 s)", hit), ("32 (1.28 s)", miss), ("36 (1.44 s)", miss)]
    worst = [("30 (1.20 s)", miss), *best[1:]]
    expected = [f"clip.mp4, frame {place}: {about}" for place, about in [*best, *worst]]
    assert [text for text in shown if "clip.mp4" in text] == expected


def test_a_page_of_videos_alone_is_about_their_frames(tmp_path: Path):
    run = write_mixed_run(tmp_path, num_images=0)

    page = page_of(run)

    metrics = json.loads(Path(run.evaluation_uri("metrics.json")).read_text())
    shown = [float(one.attributes["value"]) for one in page.named("data")]
    assert shown == [metrics["video"][n] for n in metrics["video"] if n.startswith(("AP", "AR"))]
    assert page.sections >= {"headline", "classes", "curves", "videos", "thresholds", "ladder"}
    assert "60 frames scored" in " ".join(page.text.split())
    assert "60 of 60 frames processed" in page.text


@pytest.mark.parametrize("options", [{"bf": "2"}, {"bf": "2", "x264-params": "open-gop=1"}])
def test_a_frame_read_alone_equals_that_of_a_serial_decode(tmp_path: Path, options: dict[str, str]):
    path = write_video(tmp_path, Recipe(options=options))
    items = items_of(path)
    (whole,) = split(index_video(VideoSource(str(path))), 1)
    serial = [frame.pixels for frame in decode_segment(VideoSource(str(path)), whole)]

    reader = FrameReader({item.item_id: item for item in items}, None)
    moved = FrameReader({item.item_id: item for item in items}, str(tmp_path))
    for row in rows_of(items, hits=range(0))[::7]:
        assert np.array_equal(reader.read(row), serial[row.frame_index])
        assert np.array_equal(
            moved.read(replace(row, uri="/old/clip.mp4")), serial[row.frame_index]
        )


def test_a_missing_frame_is_an_error_and_not_another_frame(tmp_path: Path):
    path = write_video(tmp_path, Recipe(options={"bf": "2"}))
    items = items_of(path)
    row = rows_of(items, hits=range(0))[50]
    path.write_bytes(write_video(tmp_path, Recipe(name="short.mp4", num_frames=20)).read_bytes())
    with pytest.raises(VideoError):
        FrameReader({item.item_id: item for item in items}, None).read(row)
    path.unlink()
    with pytest.raises(VideoError, match="no such file"):
        FrameReader({item.item_id: item for item in items}, None).read(row)
