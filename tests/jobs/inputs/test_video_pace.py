"""Frames per second of a video are those of the seconds its shards took."""

import pytest

from jobs.inputs.video_pace import VideoPace
from jobs.rundir.rows import ManifestItem


def item(kind: str, uri: str, num_frames: int | None = None) -> ManifestItem:
    first = None if num_frames is None else 0
    return ManifestItem(
        item_id=0, shard=0, kind=kind, uri=uri, image_id=1, first_frame=first, num_frames=num_frames
    )


def test_a_shard_of_one_segment_counts_whole_and_a_mixed_one_by_rows():
    pace = VideoPace()
    pace.add([item("video_segment", "a.mp4", 300)], 10.0)
    pace.add([item("video_segment", "a.mp4", 60), item("image", "x.jpg")] * 1, 6.1)
    pace.add([item("video_segment", "b.mp4", 5), item("video_segment", "a.mp4", 15)], 2.0)
    assert pace.frames_per_s("a.mp4") == pytest.approx(375 / (10 + 6.0 + 1.5))
    assert pace.frames_per_s("b.mp4") == pytest.approx(10)
    assert pace.frames_per_s("x.jpg") is None


def test_nothing_is_known_of_what_was_not_computed_or_took_no_time():
    pace = VideoPace()
    pace.add([item("video_segment", "a.mp4", 1)], 0.0)
    assert pace.frames_per_s("a.mp4") is None
    assert pace.frames_per_s("b.mp4") is None
