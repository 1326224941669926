"""Kinds of BMP and TIFF that OpenCV does not decode, or decodes to other colours."""

import struct
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from fcos_core.errors import ImageError
from jobs.media.image.decode import decode_image
from tests.jobs.media.image.files import encode, opened, photo
from tests.jobs.media.image.rare_files import Masks, bmp, tiff

RGB = np.asarray(photo()).astype(int)
GREY = np.asarray(photo().convert("L"))[..., None]
HAS_ZSTD = int(PIL.__version__.split(".")[0]) >= 12
OTHER = np.full_like(GREY, 130)


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, place="here")


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


def test_real_files_of_rare_kinds_equal_pillow(shared_data: Path):
    names = ["bmp565_v4.bmp", "five.tif"]
    for name in names + ["zstd.tif"] * HAS_ZSTD:
        data = (shared_data / "cases" / "bmp16-tiff-zstd" / name).read_bytes()
        assert np.array_equal(decode(data), opened(data)), name


@pytest.mark.parametrize("header", [40, 52, 56, 108, 124])
@pytest.mark.parametrize(
    "masks",
    [
        pytest.param((0xF800, 0x7E0, 0x1F, 0), id="565"),
        pytest.param((0x7C00, 0x3E0, 0x1F, 0), id="555"),
        pytest.param((0x7C00, 0x3E0, 0x1F, 0x8000), id="1555"),
    ],
)
@pytest.mark.parametrize("top_down", [False, True])
def test_sixteen_bits_per_pixel_of_every_bmp_header(*, header: int, masks: Masks, top_down: bool):
    data = bmp(RGB, 16, header=header, compression=3, masks=masks, top_down=top_down)
    lost = np.array([8 - mask.bit_count() for mask in masks[:3]])
    largest = (1 << 8 - lost) - 1
    expected = np.round((RGB >> lost) * 255 / largest)
    assert difference(decode(data), expected) <= 1
    white = bmp(np.full((2, 2, 3), 255), 16, header=header, compression=3, masks=masks)
    assert np.all(decode(white) == 255)
    with pytest.raises(ImageError, match="truncated BMP"):
        decode(data[:-1])


def test_sixteen_bits_per_pixel_without_masks_are_five_for_each_colour():
    for header in (12, 40, 64):
        expected = np.round((RGB >> 3) * 255 / 31)
        assert difference(decode(bmp(RGB, 16, header=header)), expected) <= 1


@pytest.mark.parametrize(("header", "compression"), [(40, 3), (40, 6), (52, 3), (56, 3), (108, 3)])
@pytest.mark.parametrize(
    "masks",
    [
        (0xFF0000, 0xFF00, 0xFF, 0),
        (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
        (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
        (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
        (0xFF000000, 0xFF0000, 0xFF00, 0),
        (0x3FF00000, 0xFFC00, 0x3FF, 0),
    ],
)
def test_masks_of_a_bmp_tell_its_colours(header: int, compression: int, masks: Masks):
    data = bmp(RGB, 32, header=header, compression=compression, masks=masks)
    assert difference(decode(data), RGB) <= (masks[2] == 0x3FF)


def with_offset(data: bytes, offset: int) -> bytes:
    return data[:10] + struct.pack("<I", offset) + data[14:]


def rle8_bmp() -> bytes:
    rows = b"\4\1\0\0" * 2 + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, 8, 1, len(rows), 0, 0, 2, 0)
    return b"BM" + struct.pack("<IHHI", 62 + len(rows), 0, 0, 62) + head + bytes(5) + b"ab\0" + rows


def core_bmp() -> bytes:
    """Write a palette of three bytes a colour, behind the shortest header."""
    palette = bytes((i * 7 + j) % 256 for i in range(256) for j in range(3))
    head = struct.pack("<IHHHH", 12, 4, 2, 1, 8)
    return b"BM" + struct.pack("<IHHI", 802, 0, 0, 794) + head + palette + bytes(range(8))


BMPS = [
    *[pytest.param(encode(photo().convert(m), "BMP"), id=m) for m in ("1", "L", "P", "RGB")],
    pytest.param(encode(photo().quantize(5), "BMP"), id="short palette"),
    pytest.param(rle8_bmp(), id="RLE8"),
    pytest.param(core_bmp(), id="core header, palette"),
    pytest.param(bmp(RGB, 24, header=12), id="core header, 24 bits"),
    pytest.param(bmp(RGB, 24, header=124), id="long header"),
    pytest.param(bmp(RGB, 16), id="16 bits"),
    pytest.param(bmp(RGB, 16, compression=3, masks=(0xF800, 0x7E0, 0x1F, 0)), id="16 bits, masks"),
    pytest.param(bmp(RGB, 32), id="32 bits"),
    *[
        pytest.param(
            bmp(RGB, 32, header=header, compression=compression, masks=(0xFF, 0xFF00, 0xFF0000, 0)),
            id=f"header {header}, compression {compression}",
        )
        for header, compression in ((40, 3), (40, 6), (52, 3), (56, 3))
    ],
]


@pytest.mark.parametrize("data", BMPS)
def test_a_bmp_whose_offset_of_pixels_is_0_has_them_behind_its_headers(data: bytes):
    assert np.array_equal(decode(with_offset(data, 0)), decode(data))
    for inside in (1, 14, 25):
        with pytest.raises(ImageError, match=f"pixels begin at byte {inside}, inside its headers"):
            decode(with_offset(data, inside))
    headers = 14 + int.from_bytes(data[14:18], "little")
    if data[24 if data[14] == 12 else 28] <= 8:
        assert np.array_equal(decode(with_offset(data, headers)), decode(data)), "of the palette"
    if data[14] == 40 and data[30] in {3, 6}:
        with pytest.raises(ImageError, match=f"byte {headers}, inside its headers, which end at"):
            decode(with_offset(data, headers))


def test_a_bmp_without_an_offset_of_pixels_equals_pillow_and_its_cut_rows_are_noticed():
    for mode in ("L", "RGB"):
        data = with_offset(encode(photo().convert(mode), "BMP"), 0)
        assert np.array_equal(decode(data), opened(data))
        with pytest.raises(ImageError, match="truncated BMP"):
            decode(data[:-1])


def test_a_bmp_that_is_not_supported_is_named():
    data = bytearray(encode(photo(), "BMP"))
    data[28] = 2
    with pytest.raises(ImageError, match=r"BMP of 2 bits per pixel, compression 0 \(none\)"):
        decode(bytes(data))
    data[14:18] = struct.pack("<I", 16)
    with pytest.raises(ImageError, match="BMP header of 16 bytes, expected 12 or at least 40"):
        decode(bytes(data))
    other = bmp(RGB, 16, compression=3, masks=(0xF00, 0xF0, 0xF, 0))
    with pytest.raises(ImageError, match=r"BMP of 16 bits .* Unsupported BMP bitfields layout"):
        decode(other)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize(
    ("extra", "bands"), [((0, 0), 5), ((2, 0), 5), ((1, 0), 5), ((0, 0, 0), 6), ((2, 0, 0), 6)]
)
def test_more_bands_than_rgb_and_alpha(extra: tuple[int, ...], bands: int, compression: int):
    samples = np.dstack([RGB, *[OTHER] * (bands - 3)])
    data = tiff(samples, 8, 2, extra=extra, compression=compression)
    expected = RGB * (130 / 255) if extra[0] == 2 else RGB
    if extra[0] == 1:  # multiplied in already, so no channel is larger than alpha
        samples[..., :3] = expected = RGB // 2
        data = tiff(samples, 8, 2, extra=extra, compression=compression)
    assert difference(decode(data), np.round(expected)) <= 1


def test_alpha_of_a_tiff_is_treated_alike_whoever_decodes_it():
    samples = np.dstack([RGB, OTHER])
    for extra in (2, 0):
        by_opencv = decode(tiff(samples, 8, 2, extra=(extra,)))
        by_pillow = decode(tiff(np.dstack([samples, OTHER]), 8, 2, extra=(extra, 0)))
        assert difference(by_opencv, by_pillow) <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_that_pillow_decodes_comes_upright_once(orientation: int):
    data = tiff(np.dstack([RGB, OTHER, OTHER]), 8, 2, extra=(0, 0), orientation=orientation)
    expected = decode(tiff(RGB, 8, 2, orientation=orientation))
    assert np.array_equal(decode(data), expected)


@pytest.mark.parametrize("bits", [2, 4, 12])
def test_few_or_many_bits_of_grey(bits: int):
    values = GREY >> (8 - bits) if bits < 8 else GREY.astype(np.uint16) << (bits - 8)
    pixels = decode(tiff(values, bits, 1))
    expected = values * (255 // ((1 << bits) - 1)) if bits < 8 else GREY
    assert np.array_equal(pixels, np.broadcast_to(expected, RGB.shape))


def test_cmyk_of_sixteen_bits_equals_cmyk_of_eight():
    inks = np.dstack([255 - RGB, np.zeros_like(GREY)])
    for compression in (1, 8):
        deep = tiff(inks.astype(np.uint16) << 8, 16, 5, compression=compression)
        assert difference(decode(deep), decode(tiff(inks, 8, 5))) <= 1


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16", "1", "P", "CMYK"])
@pytest.mark.parametrize("codec", ["zstd", "lzma"])
def test_a_codec_of_tiff_that_only_pillow_has(codec: str, mode: str):
    if codec == "zstd" and not HAS_ZSTD:
        pytest.skip(f"the wheels of Pillow {PIL.__version__} are built without zstd")
    image = photo().convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) << 8)
    data = encode(image, "TIFF", compression=codec)
    assert difference(decode(data), decode(encode(image, "TIFF"))) <= 1
    if codec == "lzma" and mode == "RGB":  # libtiff's zstd has no checksum
        broken = data[:100] + bytes(4) + data[104:]
        with pytest.raises(ImageError, match=r"TIFF of 3 x 8-bit .* cannot unpack it"):
            decode(broken)


def test_a_codec_that_pillow_lacks_is_named():
    data = tiff(RGB, 8, 2, compression=50001)
    with pytest.raises(ImageError) as raised:
        decode(data)
    why = "cannot unpack it (it may be built without webp): "
    assert f"compression 50001 (webp): Pillow {PIL.__version__} {why}" in str(raised.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(
            encode(Image.new("F", (8, 8), 0.5), "TIFF"),
            r"TIFF of 1 x 32-bit float samples, compression 1 \(raw\): "
            r"its values \(Pillow's mode F\) have no fixed black and white",
            id="float",
        ),
        pytest.param(
            tiff(np.dstack([RGB, *[OTHER] * 4]).astype(np.uint16), 16, 2, extra=(0,) * 4),
            "TIFF of 7 x 16-bit unsigned samples, .* does not support it: ",
            id="seven bands",
        ),
        pytest.param(
            tiff(np.dstack([RGB, GREY]).astype(np.uint16), 16, 5, in_planes=True),
            "uncompressed planes of more than 8 bits are not supported",
            id="planes that Pillow misreads",
        ),
        pytest.param(
            tiff(RGB >> 1, 7, 2),
            "TIFF of 3 x 7-bit unsigned samples, .* unknown pixel mode",
            id="seven bits",
        ),
    ],
)
def test_a_tiff_that_is_not_supported_is_named(data: bytes, reason: str):
    with pytest.raises(ImageError, match=reason):
        decode(data)


def test_a_compressed_tiff_is_checked_where_the_limit_of_pillow_is_lower(
    monkeypatch: pytest.MonkeyPatch,
):
    # It is a global of the process; above its double, Pillow raises.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encode(photo(), "TIFF", compression="tiff_adobe_deflate")
    assert np.array_equal(decode(data), np.asarray(photo()))
    broken = data[:60] + bytes(40) + data[100:]
    with pytest.raises(ImageError, match="corrupt TIFF: its pixel data does not unpack"):
        decode(broken)


def test_an_offset_beyond_any_file_is_an_image_error():
    data = bytearray(encode(photo(), "TIFF", big_tiff=True))
    assert decode(bytes(data)).shape == (40, 60, 3)
    data[8:16] = b"\xff" * 8
    with pytest.raises(ImageError, match=r"truncated TIFF: .* end inside its header"):
        decode(bytes(data))
