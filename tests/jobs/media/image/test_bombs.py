"""Images of a few bytes that ask a decoder for hours are refused in a moment."""

import io
import struct
import time
import zlib

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from fcos_core.errors import ImageError
from jobs.media.image.decode import decode_image

SIDE = 8


def zeros(num_mib: int) -> bytes:
    """Give a zlib stream of zeros, a thousandth of what it stands for."""
    stream = zlib.compressobj(9)
    return b"".join([*(stream.compress(bytes(1 << 20)) for _ in range(num_mib)), stream.flush()])


def png(pixel_data: bytes, *chunks: tuple[bytes, bytes], side: int = SIDE, interlace: int = 0):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, interlace)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixel_data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def test_a_png_that_unpacks_to_a_thousand_times_its_pixels_is_refused():
    data = png(zeros(128))
    started = time.process_time()
    with pytest.raises(ImageError, match="inflates to more than 400 bytes, 200 needed"):
        decode_image(data, place="bomb.png")
    assert time.process_time() - started < 1


def test_a_bomb_behind_a_photos_rows_is_found_too():
    noise = np.random.default_rng(0).bytes(300 * 901)
    rows = b"".join(b"\0" + noise[901 * row : 901 * row + 900] for row in range(300))
    stream = zlib.compressobj(9)
    data = stream.compress(rows)
    for _ in range(128):
        data += stream.compress(bytes(1 << 20))
    with pytest.raises(ImageError, match="inflates to more than"):
        decode_image(png(data + stream.flush(), side=300), place="bomb.png")


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
def test_a_bomb_in_a_chunk_that_no_pixel_needs_is_never_unpacked(kind: bytes):
    started = time.process_time()
    bomb = b"x\0\1\0\0\0" if kind == b"iTXt" else b"x\0\0"
    pixels = decode_image(png(zlib.compress(bytes(200)), (kind, bomb + zeros(128))), place="a.png")
    assert pixels.shape == (SIDE, SIDE, 3)
    assert time.process_time() - started < 5  # most of it makes the bomb


@pytest.mark.parametrize("interlace", [0, 1])
def test_a_large_image_of_one_colour_is_no_bomb(interlace: int):
    side = 4000
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (1, 2, 3)).save(buffer, "PNG", compress_level=1)
    data = buffer.getvalue()
    if interlace:
        rows = []
        for x, y, dx, dy in [
            *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
            *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
        ]:
            width, height = -(-(side - x) // dx), -(-(side - y) // dy)
            rows.append((b"\0" + b"\1\2\3" * width) * height)
        data = png(zlib.compress(b"".join(rows), 1), side=side, interlace=1)
    pixels = decode_image(data, place="a.png")
    assert (pixels.min(axis=(0, 1)) == pixels.max(axis=(0, 1))).all()
    assert pixels[0, 0].tolist() == [1, 2, 3]


def progressive(num_scans: int) -> bytes:
    """Repeat the last scan of a progressive JPEG, of a coefficient's last bit."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    begin = data.rindex(b"\xff\xda")
    return data[:begin] + data[begin:-2] * num_scans + b"\xff\xd9"


def test_a_jpeg_of_thousands_of_scans_is_refused():
    with pytest.raises(ImageError, match=r"JPEG of \d{4} scans, limit 500"):
        decode_image(progressive(3000), place="bomb.jpg")


def test_scans_in_a_thumbnail_or_a_comment_do_not_count():
    data = simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 4000) + b"\xff\xda" * 2000
    assert decode_image(data[:2] + comment + data[2:], place="a.jpg").shape == (8, 8, 3)


def test_a_tiff_whose_directory_repeats_a_huge_tag_is_refused():
    count = 60_000
    entries = [struct.pack("<HHII", tag, 4, 1, 8) for tag in (256, 257)]
    entries += [struct.pack("<HHII", 273, 1, 4 * count, 8)] * count
    data = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)
    started = time.process_time()
    with pytest.raises(ImageError, match="more values than the file has"):
        decode_image(data, place="bomb.tif")
    assert time.process_time() - started < 5
