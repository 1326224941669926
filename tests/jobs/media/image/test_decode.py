import io
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from fcos_core.errors import ImageError
from jobs.media.image.decode import decode_image, image_size
from jobs.media.limits import MAX_PIXELS
from tests.jobs.media.image.files import FORMATS, encode, opened, oriented, photo


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, place="here")


def decode_with_opencv(data: bytes) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def difference(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


def test_jpeg_pixels_of_real_photos_equal_opencv_bit_for_bit(shared_data: Path):
    photos = sorted(shared_data.glob("coco_tiny/*/*.jpg"))
    assert len(photos) == 100
    for path in photos:
        data = path.read_bytes()
        assert np.array_equal(decode(data), decode_with_opencv(data)), path.name


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(1, 1), (17, 9), (64, 33)])
def test_jpeg_variants_equal_opencv_bit_for_bit(
    *, mode: str, progressive: bool, subsampling: int, size: tuple[int, int]
):
    image = photo(*size).convert(mode)
    for restart_rows in (0, 1):
        data = encode(
            image,
            "JPEG",
            progressive=progressive,
            subsampling=subsampling,
            restart_marker_rows=restart_rows,
        )
        assert np.array_equal(decode(data), decode_with_opencv(data))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_oriented_jpeg_equals_opencv_bit_for_bit(orientation: int):
    data = oriented(photo(), "JPEG", orientation)
    assert np.array_equal(decode(data), decode_with_opencv(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("size", [(60, 40), (1, 5), (1, 1)])
def test_every_orientation_comes_upright_once(
    image_format: str, orientation: int, size: tuple[int, int]
):
    data = oriented(photo(*size), image_format, orientation)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    pixels = decode(data)
    assert difference(pixels, expected) == 0
    assert pixels.flags.c_contiguous
    assert pixels.dtype == np.uint8
    assert image_size(data, place="here") == expected.shape[:2]


def test_sixteen_bit_tiff_comes_upright():
    high = np.asarray(photo().convert("L"))
    image = Image.fromarray(high.astype(np.uint16) << 8)
    pixels = decode(encode(image, "TIFF", tiffinfo={0x0112: 6}))
    assert np.array_equal(pixels[..., 1], np.rot90(high, -1))


@pytest.mark.parametrize("image_format", FORMATS)
def test_red_comes_first(image_format: str):
    pixels = decode(encode(Image.new("RGB", (32, 32), (200, 0, 0)), image_format))
    assert pixels[16, 16].tolist() == pytest.approx([200, 0, 0], abs=3)


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_lossless_modes_equal_pillow(image_format: str, mode: str):
    data = encode(photo().convert(mode), image_format)
    assert np.array_equal(decode(data), opened(data))


@pytest.mark.parametrize(
    "compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group4", None]
)
def test_compressed_tiff_equals_pillow(compression: str | None):
    image = photo().convert("1" if compression == "group4" else "RGB")
    data = encode(image, "TIFF", compression=compression)
    assert np.array_equal(decode(data), opened(data))


@pytest.mark.parametrize("image_format", ["PNG", "WebP"])
def test_alpha_is_dropped_without_blending(image_format: str):
    pixels = np.full((8, 8, 4), (200, 90, 10, 0), np.uint8)
    settings = {"lossless": True, "exact": True} if image_format == "WebP" else {}
    decoded = decode(encode(Image.fromarray(pixels), image_format, **settings))
    assert np.array_equal(decoded, pixels[..., :3])


def test_cmyk_looks_as_in_pillow(shared_data: Path):
    for name in ("cmyk_pytorch.jpg", "pil_sample_cmyk.jpg"):
        data = (shared_data / "hard" / name).read_bytes()
        # The two round the product of colour and black differently.
        assert difference(decode(data), opened(data)) <= 2


def test_of_sixteen_bits_the_upper_eight_are_kept(shared_data: Path):
    for name in ("i_trns.png", "16bit.cropped.tif"):
        data = (shared_data / "hard" / name).read_bytes()
        values = np.asarray(Image.open(io.BytesIO(data)))
        assert values.dtype == np.uint16
        assert np.array_equal(decode(data)[..., 0], values >> 8)
    data = (shared_data / "hard" / "rgb_pytorch16.png").read_bytes()
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert values is not None
    assert values.dtype == np.uint16
    assert np.array_equal(decode(data), values[..., 2::-1].astype(np.uint16) >> 8)


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WebP", "TIFF"])
def test_of_an_animation_the_first_frame_is_decoded(image_format: str):
    red, green, blue = (Image.new("RGB", (32, 24), name) for name in ("red", "lime", "blue"))
    settings = {"lossless": True} if image_format == "WebP" else {}
    data = encode(red, image_format, save_all=True, append_images=[green, blue], **settings)
    assert np.array_equal(decode(data), np.asarray(red))


def test_webp_with_a_prefixed_exif_block_comes_upright(shared_data: Path):
    data = (shared_data / "hard" / "hopper_orientation_6.webp").read_bytes()
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert np.array_equal(decode(data), np.asarray(expected))
    assert not np.array_equal(decode(data), decode_with_opencv(data)), "OpenCV has learnt it"


def test_content_decides_and_not_the_name():
    data = encode(photo(), "PNG")
    assert np.array_equal(decode_image(data, place="/data/mislabelled.jpg"), np.asarray(photo()))


def _claiming(image_format: str, width: int, height: int) -> bytes:
    """A small file whose header claims a large image."""
    data = bytearray(encode(photo(), image_format))
    if image_format == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    elif image_format == "PNG":
        data[16:24] = struct.pack(">II", width, height)
    elif image_format == "WebP":
        data[26:30] = struct.pack("<HH", width, height)
    elif image_format == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif image_format == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    else:
        for tag, value in ((256, width), (257, height)):
            at = data.index(struct.pack("<HHI", tag, 4, 1)) + 8
            data[at : at + 4] = struct.pack("<I", value)
    return bytes(data)


@pytest.mark.parametrize("image_format", FORMATS)
def test_pixel_cap_is_checked_from_the_header(image_format: str):
    # Only WebP's header cannot claim more than 16383 pixels a side.
    side = 16_000
    with pytest.raises(ImageError) as raised:
        decode(_claiming(image_format, side, side))
    assert str(raised.value) == "here: 16000 x 16000 = 256000000 pixels, limit 178956970"


@pytest.mark.parametrize("image_format", FORMATS)
def test_pixel_cap_itself_is_admitted(image_format: str):
    data = encode(photo(60, 40), image_format)
    assert decode_image(data, place="here", max_pixels=2400).shape == (40, 60, 3)
    with pytest.raises(ImageError, match=r"^here: 60 x 40 = 2400 pixels, limit 2399$"):
        decode_image(data, place="here", max_pixels=2399)


def test_default_cap_is_the_documented_one():
    assert MAX_PIXELS == 178_956_970


def test_threads_decode_what_one_thread_decodes():
    files = [encode(photo(50 + i, 40), FORMATS[i % len(FORMATS)]) for i in range(60)]
    files[7] = files[7][:200]

    def outcome(data: bytes) -> bytes | str:
        try:
            return decode(data).tobytes()
        except ImageError as error:
            return str(error)

    alone = [outcome(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, files * 5)) == alone * 5
