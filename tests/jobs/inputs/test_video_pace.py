"""Frames per second of a video are those of the seconds its shards took."""

import pytest

from jobs.inputs.video_pace import VideoPace


def test_a_shard_of_one_segment_counts_whole_and_a_mixed_one_by_rows():
    pace = VideoPace()
    pace.add({"a.mp4": 300}, 300, 10.0)
    pace.add({"a.mp4": 60}, 61, 6.1)  # beside an image
    pace.add({"b.mp4": 5, "a.mp4": 15}, 20, 2.0)
    assert pace.frames_per_s("a.mp4") == pytest.approx(375 / (10 + 6.0 + 1.5))
    assert pace.frames_per_s("b.mp4") == pytest.approx(10)
    assert pace.frames_per_s("x.jpg") is None


def test_nothing_is_known_of_what_was_not_computed_or_took_no_time():
    pace = VideoPace()
    pace.add({"a.mp4": 1}, 1, 0.0)
    assert pace.frames_per_s("a.mp4") is None
    assert pace.frames_per_s("b.mp4") is None
