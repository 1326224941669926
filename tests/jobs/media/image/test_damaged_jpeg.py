"""Damage of a JPEG that shows only in bytes between its segments, or not at all: refused."""

from itertools import pairwise

import numpy as np
import pytest

from fcos_core.errors import ImageError
from jobs.media.image.decode import decode_image
from tests.jobs.media.image.files import encode, photo
from tests.jobs.media.image.rare_files import jpeg_markers, jpeg_scans

KINDS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True, "quality": 90, "subsampling": 0},
    "own tables": {"qtables": [[3 + i % 61 for i in range(64)], [7 + i % 31 for i in range(64)]]},
    "RGB": {"keep_rgb": True},
    "restarts": {"restart_marker_blocks": 3},
}


@pytest.fixture(params=KINDS)
def jpeg(request: pytest.FixtureRequest) -> bytes:
    return encode(photo(), "JPEG", **KINDS[request.param])


def decoded(data: bytes) -> np.ndarray | None:
    try:
        return decode_image(data, place="here")
    except ImageError:
        return None


def test_bytes_inserted_into_a_header_never_change_a_pixel(jpeg: bytes):
    expected = decoded(jpeg)
    assert expected is not None
    start, scan = jpeg_markers(jpeg)[0], jpeg_markers(jpeg)[-1]
    random = np.random.default_rng(4)
    num_decoded = 0
    for _ in range(250):
        at = int(random.integers(start, scan))
        pixels = decoded(jpeg[:at] + random.bytes(int(random.integers(1, 9))) + jpeg[at:])
        assert pixels is None or np.array_equal(pixels, expected), at
        num_decoded += pixels is not None
    assert num_decoded > 0


def test_a_segment_whose_marker_is_lost_is_missed_where_pixels_depend_on_it(jpeg: bytes):
    expected = decoded(jpeg)
    assert expected is not None
    for at in jpeg_markers(jpeg):
        for place, value in ((at, 0xFE), (at + 1, 0x00), (at + 1, 0xD3)):
            pixels = decoded(jpeg[:place] + bytes((value,)) + jpeg[place + 1 :])
            assert pixels is None or np.array_equal(pixels, expected), hex(jpeg[at + 1])
            assert pixels is None or jpeg[at + 1] == 0xE0


def test_bytes_behind_a_scan_are_refused_unless_they_are_zero(jpeg: bytes):
    expected = decoded(jpeg)
    for at in jpeg_scans(jpeg):
        assert decoded(jpeg[:at] + bytes(300) + b"\1" + jpeg[at:]) is None
        # libjpeg reads ahead, and does not notice a few.
        pixels = decoded(jpeg[:at] + b"\x13" + jpeg[at:])
        assert pixels is None or np.array_equal(pixels, expected)


def test_zeros_in_place_of_a_scans_end_are_not_taken_for_padding(jpeg: bytes):
    for at in jpeg_scans(jpeg):
        for length in (2, 20):
            data = jpeg[: at - length] + bytes(length + 300) + jpeg[at:]
            assert decoded(data) is None, (at, length)


def test_a_progressive_file_cut_between_its_scans_is_refused():
    data = encode(photo(), "JPEG", progressive=True)
    ends = jpeg_scans(data)
    assert len(ends) == 10
    for end, following in pairwise(ends):
        for at in (end, (end + following) // 2, following - 4):
            assert decoded(data[:at]) is None


def test_a_lost_or_wrong_restart_marker_is_refused():
    data = encode(photo(), "JPEG", restart_marker_blocks=3)
    at = data.index(b"\xff\xd1")
    assert decoded(data[:at] + b"\xff\xd5" + data[at + 2 :]) is None
    assert decoded(data[:at] + data[at + 2 :]) is None
