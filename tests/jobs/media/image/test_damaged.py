"""Damaged and misnamed files: each gives pixels or an error with the right reason."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fcos_core.errors import ImageError
from jobs.media.image.decode import decode_image, image_size
from tests.jobs.media.image.files import encode, photo

# What is in each file was established with a hex dump, `file` and Pillow, not with our decoder.
VERDICTS = {
    "16bit.cropped.tif": (64, 64),
    "Landscape_3.jpg": (1200, 1800),
    "Landscape_6.jpg": (1200, 1800),  # stored 1200 wide, 1800 high
    "Portrait_5.jpg": (1800, 1200),
    "Portrait_8.jpg": (1800, 1200),
    # Decodes to blocks of wrong colour: libjpeg is out of step and has 260 bytes left at the end.
    "bad_huffman.jpg": "corrupt JPEG: 260 extraneous bytes before marker 0xd9",
    # IDAT of 30655 bytes at 33; the stored checksum is not its CRC-32.
    "broken_data_stream.png": (
        "corrupt PNG: chunk 'IDAT' at byte 33 has checksum f41025f1, its content fa3fba12"
    ),
    "cmyk_pytorch.jpg": (100, 100),
    # 120 x 90, of which only the uppermost rows decode; then a marker no JPEG has.
    "corrupt.jpg": "corrupt JPEG: Unsupported marker type 0xae",
    # Screen 32 x 32; the first frame is 65535 x 1321 at row 65280.
    "decompression_bomb.gif": "65535 x 66601 = 4364696535 pixels, limit 178956970",
    # Its second frame is the bomb; the first is 100 x 100, whole.
    "decompression_bomb_extents.gif": (100, 100),
    "empty.jpg": "empty file (0 bytes)",
    "grayalpha_pytorch.png": (100, 100),
    "hopper_gray.jpg": (128, 128),
    "hopper_orientation_6.webp": (128, 128),
    "hopper_webp.png": (128, 128),
    "i_trns.png": (64, 64),
    "palette_pytorch.png": (100, 100),
    "pil_sample_cmyk.jpg": (100, 100),
    "rgb_pytorch.webp": (100, 100),
    "rgb_pytorch16.png": (100, 100),
    "text.jpg": "not a supported image: begins with b'this is not '",
    # 640 x 480; its only IDAT begins at byte 33 and the file is cut inside it.
    "truncated_image.png": "truncated PNG: 81920 bytes, no IEND; whole chunks end at 33",
    # Progressive, 100 x 100, all scans; it lacks one byte, 0xd9 of the end-of-image marker.
    "truncated_jpeg.jpg": (100, 100),
    "zero_width.gif": "GIF screen of 0 x 32 pixels has no area",
}


def verdict(data: bytes) -> tuple[int, int] | str:
    try:
        height, width, _ = decode_image(data, place="here").shape
    except ImageError as error:
        text = str(error)
        assert text.startswith("here: ")
        assert "\n" not in text
        return text.removeprefix("here: ")
    return height, width


def test_every_awkward_file_gives_its_expected_result_and_no_output(
    shared_data: Path, capfd: pytest.CaptureFixture[str]
):
    paths = sorted((shared_data / "hard").iterdir())
    assert {path.name: verdict(path.read_bytes()) for path in paths} == VERDICTS
    assert capfd.readouterr() == ("", "")


def test_a_damaged_file_with_a_whole_header_has_an_upright_size(shared_data: Path):
    sizes = {"corrupt.jpg": (90, 120), "truncated_image.png": (480, 640)}
    for name, size in sizes.items():
        assert image_size((shared_data / "hard" / name).read_bytes(), place=name) == size


@pytest.mark.parametrize(
    ("image_format", "settings"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WebP", {}),
        ("WebP", {"lossless": True}),
        ("BMP", {}),
        ("GIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
)
def test_a_file_cut_anywhere_is_refused(image_format: str, settings: dict[str, object]):
    data = encode(photo(), image_format, **settings)
    assert verdict(data) == (40, 60)
    # Behind the pixels: the end mark, the end of GIF's blocks, a byte of padding.
    num_harmless = {"JPEG": 2, "PNG": 12, "GIF": 2, "WebP": 1}.get(image_format, 0)
    cuts = {*range(len(data) - 20, len(data)), *range(4, len(data), 1 + len(data) // 200)}
    for cut in sorted(cuts):
        reason = verdict(data[:cut])
        if cut >= len(data) - num_harmless and reason == (40, 60):
            assert np.array_equal(
                decode_image(data[:cut], place="here"), decode_image(data, place="here")
            )
            continue
        assert isinstance(reason, str), f"{cut} of {len(data)} bytes were decoded"
        assert "truncated" in reason or "not a supported image" in reason, reason


@pytest.mark.parametrize("progressive", [False, True])
def test_a_flipped_bit_in_a_jpeg_is_refused_or_decoded_as_opencv_does(*, progressive: bool):
    data = encode(photo(120, 90), "JPEG", progressive=progressive)
    random = np.random.default_rng(7)
    num_refused = 0
    for _ in range(400):
        flipped = bytearray(data)
        flipped[int(random.integers(3, len(data)))] ^= 1 << int(random.integers(8))
        try:
            pixels = decode_image(bytes(flipped), place="here")
        except ImageError:
            num_refused += 1
            continue
        theirs = cv2.imdecode(np.frombuffer(flipped, np.uint8), cv2.IMREAD_COLOR)
        assert theirs is not None
        assert np.array_equal(pixels, theirs[..., ::-1])
    assert num_refused > 50


@pytest.mark.parametrize(
    ("image_format", "settings"),
    [
        ("PNG", {}),
        ("WebP", {}),
        ("BMP", {}),
        ("GIF", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
def test_damage_elsewhere_ends_in_pixels_or_an_image_error(
    image_format: str, settings: dict[str, object]
):
    data = encode(photo(), image_format, **settings)
    random = np.random.default_rng(8)
    num_refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        # Half of it near the ends, where headers and directories are.
        reach = len(data) if random.random() < 0.5 else 150
        for _ in range(3):
            damaged[int(random.integers(-reach, reach)) % len(data)] = int(random.integers(256))
        num_refused += isinstance(verdict(bytes(damaged)), str)
    assert num_refused > (295 if image_format == "PNG" else 10)


def test_chunks_of_a_png_that_no_pixel_depends_on_cause_no_output(
    capfd: pytest.CaptureFixture[str],
):
    for mode in ("RGB", "L", "P", "RGBA", "LA", "1"):
        image = photo().convert(mode)
        settings: dict[str, object] = (
            {} if "A" in mode else {"transparency": 0 if mode != "RGB" else (0, 0, 0)}
        )
        data = encode(image, "PNG", **settings)
        theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert theirs is not None
        assert np.array_equal(decode_image(data, place="here"), theirs[..., ::-1])
        body = b"iCCPprofile\0\0" + zlib.compress(b"no profile")
        odd = struct.pack(">I", len(body) - 4) + body + b"oops"
        noisy = data[:33] + odd + data[33:]
        assert np.array_equal(decode_image(noisy, place="here"), theirs[..., ::-1])
    assert capfd.readouterr() == ("", "")


def test_a_header_oddity_that_changes_no_pixel_is_ignored():
    data = bytearray(encode(photo(), "JPEG"))
    expected = decode_image(bytes(data), place="here")
    data[data.index(b"JFIF\0") + 5] = 9
    scan = data.index(b"\xff\xda")
    assert data[scan + 11 : scan + 14] == b"\x00\x3f\x00"
    odd_version = bytes(data)
    data[scan + 11 : scan + 14] = b"\x00\x00\x00"
    data[data.index(b"JFIF\0") + 5] = 1
    odd_scan = bytes(data)
    assert np.array_equal(decode_image(odd_version, place="here"), expected)
    assert np.array_equal(decode_image(odd_scan, place="here"), expected)


def test_damage_behind_a_header_oddity_is_still_found(shared_data: Path):
    data = bytearray((shared_data / "hard" / "bad_huffman.jpg").read_bytes())
    data[data.index(b"JFIF\0") + 5] = 9
    assert verdict(bytes(data)) == VERDICTS["bad_huffman.jpg"]


def test_damaged_cmyk_jpeg_is_refused():
    data = encode(photo().convert("CMYK"), "JPEG")
    assert verdict(data) == (40, 60)
    cut = data[:-100]
    assert verdict(cut) == f"truncated JPEG: {len(cut)} bytes, no end-of-image marker"


def test_damaged_strip_of_a_compressed_tiff_is_refused():
    data = bytearray(encode(photo(), "TIFF", compression="tiff_deflate"))
    data[60] ^= 0x10
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    assert "corrupt TIFF: its pixel data does not unpack" in str(verdict(bytes(data)))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(b"\x05" * 121, "row 0 of 10 has filter type 5, limit 4", id="filter"),
        pytest.param(b"\0" * 100, "pixel data inflates to 100 bytes, 310 needed", id="too short"),
        pytest.param(None, "pixel data does not inflate: ", id="not deflate"),
    ],
)
def test_png_with_good_checksums_and_bad_pixel_data_is_explained(raw: bytes | None, reason: str):
    data = encode(Image.new("RGB", (10, 10)), "PNG")
    content = b"garbage" if raw is None else zlib.compress(raw)
    chunk = b"IDAT" + content
    body = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    start = data.index(b"IDAT") - 4
    bad = data[:start] + body + data[data.index(b"IEND") - 4 :]
    assert f"corrupt PNG: {reason}" in str(verdict(bad))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0" * 4096, "4096 bytes, all zero"),
        (b"%PDF-1.7", "begins with b'%PDF-1.7', a PDF document"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an ISO media file (AVIF, HEIC, MP4) of brand b'avif'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "begins with b'RIFF"),
    ],
)
def test_content_that_is_no_image_is_named(data: bytes, reason: str):
    assert reason in str(verdict(data))


def test_frame_beyond_its_gif_screen_is_refused():
    data = bytearray(encode(photo(), "GIF"))
    data[6:8] = struct.pack("<H", 30)
    assert verdict(bytes(data)) == (
        "corrupt GIF: its first frame reaches to 60 x 40, the screen is 30 x 40"
    )
