"""Damage that no pixel of the first image depends on: the image is decoded, bit for bit."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from fcos_core.errors import ImageError
from jobs.media.image.decode import decode_image, image_size
from tests.jobs.media.image.files import encode, opened, oriented, photo
from tests.jobs.media.image.rare_files import (
    jpeg_markers,
    jpeg_scans,
    png_chunk,
    png_chunks,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, place="here")


def is_refused(data: bytes, reason: str) -> bool:
    with pytest.raises(ImageError, match=reason):
        decode(data)
    return True


def damaged(chunk: bytes) -> bytes:
    """Flip a bit of a PNG chunk's content, so that its checksum is wrong."""
    return chunk[:8] + bytes((chunk[8] ^ 1,)) + chunk[9:]


def test_real_files_with_harmless_damage_equal_the_undamaged_ones(shared_data: Path):
    folder = shared_data / "cases" / "harmless-damage"
    for kind in ("jpg", "png"):
        paths = {path for path in folder.glob(f"*.{kind}") if not path.stem.startswith("damaged")}
        expected = decode((folder / f"plain.{kind}").read_bytes())
        for path in paths:
            assert np.array_equal(decode(path.read_bytes()), expected), path.name
    assert is_refused((folder / "damaged_half.jpg").read_bytes(), "premature end of data")


@pytest.mark.parametrize("stray", [b"\x13", b"\0\x11\x22\x33\x44", b"\0" * 7, b"\xff" * 3])
def test_stray_bytes_before_any_marker_of_a_jpeg_header(stray: bytes):
    data = encode(photo(), "JPEG")
    expected = decode(data)
    for at in jpeg_markers(data)[1:]:
        assert np.array_equal(decode(data[:at] + stray + data[at:]), expected), at


@pytest.mark.parametrize("padding", [b"\0", b"\0" * 600, b"\xff\xff", b"\0\0\xff"])
@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"restart_marker_blocks": 3}])
def test_padding_behind_any_scan_of_a_jpeg(settings: dict[str, object], padding: bytes):
    data = encode(photo(), "JPEG", **settings)
    expected = decode(data)
    for at in jpeg_scans(data):
        assert np.array_equal(decode(data[:at] + padding + data[at:]), expected), at


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_mark(*, mode: str, progressive: bool):
    data = encode(photo().convert(mode), "JPEG", progressive=progressive)
    for cut in (1, 2):
        assert np.array_equal(decode(data[:-cut]), decode(data))
    assert is_refused(data[:-3], "truncated JPEG: .* no end-of-image marker")


def test_a_png_that_lacks_its_end():
    for settings in ({}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}):
        data = encode(photo(), "PNG", **settings)
        for cut in range(1, 13):
            assert np.array_equal(decode(data[:-cut]), np.asarray(photo())), cut
        flipped = data[:-6] + bytes((data[-6] ^ 4,)) + data[-5:]
        assert np.array_equal(decode(flipped), np.asarray(photo()))
    assert is_refused(data[:-13], "truncated PNG: .* no IEND")


def test_a_png_damaged_where_no_pixel_is():
    header, pixels, end = png_chunks(encode(photo(), "PNG"))
    text = png_chunk(b"tEXt", b"Title\0untitled")
    for chunks in (
        (header, damaged(text), pixels, end),
        (header, pixels, damaged(text), end),
        (header, pixels, text[:-1]),
        (header, pixels, text[:4] + b"TEXt" + text[8:], end),
        (header, pixels, end, b"anything"),
    ):
        assert np.array_equal(decode(SIGNATURE + b"".join(chunks)), np.asarray(photo()))
    interlaced = png_chunk(b"IHDR", header[8:20] + b"\1")
    assert is_refused(SIGNATURE + interlaced + pixels, "does not decode")


def test_an_orientation_of_a_png_counts_only_where_it_is_whole_and_in_exif():
    chunks = png_chunks(oriented(photo(), "PNG", 6))
    assert [chunk[4:8] for chunk in chunks] == [b"IHDR", b"eXIf", b"IDAT", b"IEND"]
    assert decode(SIGNATURE + b"".join(chunks)).shape == (60, 40, 3)
    chunks[1] = damaged(chunks[1])
    data = SIGNATURE + b"".join(chunks)
    assert decode(data).shape == (40, 60, 3)
    assert image_size(data, place="here") == (40, 60)
    # Of XMP, Pillow reads the orientation; browsers do not, and neither do we.
    packet = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    chunks[1] = png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)
    data = SIGNATURE + b"".join(chunks)
    assert ImageOps.exif_transpose(Image.open(io.BytesIO(data))).size == (40, 60)
    assert np.array_equal(decode(data), np.asarray(photo()))


def animation(image_format: str, **settings: object) -> bytes:
    frames = [photo().rotate(180), Image.new("RGB", (60, 40), "blue")]
    lossless = {"lossless": True} if image_format == "WebP" else {}
    return encode(
        photo(), image_format, save_all=True, append_images=frames, **lossless, **settings
    )


@pytest.mark.parametrize(
    ("image_format", "second_frame"), [("PNG", b"fcTL"), ("GIF", b"\x21\xf9"), ("WebP", b"ANMF")]
)
def test_damage_of_later_frames_does_not_count(image_format: str, second_frame: bytes):
    data = animation(image_format, duration=100)
    expected = opened(encode(photo(), image_format)) if image_format == "GIF" else photo()
    assert np.array_equal(decode(data), np.asarray(expected))
    first = data.index(second_frame)
    later = data.index(second_frame, first + 4)
    for cut in {later, later + 5, later + 40, len(data) - 20, len(data) - 1}:
        assert np.array_equal(decode(data[:cut]), np.asarray(expected)), cut
    noisy = data[: later + 30] + bytes(50) + data[later + 80 :]
    assert np.array_equal(decode(noisy), np.asarray(expected))


def test_of_an_animated_png_the_image_apart_from_its_frames_is_decoded():
    data = animation("PNG", default_image=True)
    assert np.array_equal(decode(data), opened(data))
    # OpenCV's decoder of such animations died of this by SIGSEGV.
    at = data.index(b"fdAT")
    content = bytearray(data[at + 8 : at + 200])
    content[::7] = bytes(len(content[::7]))
    assert np.array_equal(decode(data[: at + 8] + content + data[at + 200 :]), opened(data))


def test_sixteen_bits_of_an_animated_png_keep_the_upper_eight():
    grey = np.asarray(photo().convert("L")).astype(np.uint16)
    frames = [Image.fromarray(values) for values in (grey << 8 | 200, grey[::-1].copy())]
    data = encode(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert np.array_equal(decode(data)[..., 0], grey)


def test_a_gif_that_lacks_only_what_follows_its_pixels():
    data = encode(photo(), "GIF")
    for end in (b"", b"\0", b"\0\0\0\0;", b"\0;anything", b"\0\x99anything"):
        assert np.array_equal(decode(data[:-2] + end), opened(data)), end
    assert is_refused(data[:-4], "truncated GIF: .* a block of its first frame ends at")


@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_whose_announced_length_is_wrong(*, lossless: bool):
    data = encode(photo(), "WebP", lossless=lossless)
    expected = decode(data)
    for announced in (0, 4, len(data) - 18, len(data) - 7, len(data), 2**32 - 1):
        wrong = data[:4] + struct.pack("<I", announced) + data[8:]
        assert np.array_equal(decode(wrong), expected), announced
        assert np.array_equal(decode(wrong + b"anything"), expected), announced


def test_a_webp_that_lacks_the_exif_block_it_announces_has_no_known_orientation():
    data = oriented(photo(), "WebP", 6)
    at = data.index(b"EXIF")
    assert decode(data).shape == (60, 40, 3)
    for cut in (at, at + 6, at + 20):
        assert is_refused(data[:cut], "truncated WebP: .* its EXIF chunk is cut or missing")


@pytest.mark.parametrize("lossless", [False, True])
def test_a_whole_webp_that_announces_exif_and_has_none_is_upright(*, lossless: bool):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(photo(), "WebP", lossless=lossless, exif=exif)
    upright = decode(encode(photo(), "WebP", lossless=lossless))
    at = data.index(b"EXIF")
    without = data[:4] + struct.pack("<I", at - 8) + data[8:at]
    assert without[20] & 0x08, "the header announces it"
    assert np.array_equal(decode(without), upright)
    renamed = data.replace(b"EXIF", b"Exif")
    assert np.array_equal(decode(renamed), upright)
    assert image_size(renamed, place="here") == (40, 60)
    assert is_refused(without[:4] + struct.pack("<I", at) + without[8:], "EXIF chunk is cut")
    odd = without + b"XMP \x01\0\0\0x"
    odd = odd[:4] + struct.pack("<I", len(odd) + 1 - 8) + odd[8:]
    assert np.array_equal(decode(odd), upright), "only the byte of padding is missing"


@pytest.mark.parametrize("width", [57, 58, 59])
def test_a_bmp_that_lacks_only_the_padding_of_its_last_row(width: int):
    image = photo(width)
    data = encode(image, "BMP")
    padding = -3 * width % 4
    assert np.array_equal(decode(data[:-padding]), np.asarray(image))
    assert is_refused(data[: -padding - 1], "truncated BMP: .* its rows end at")
