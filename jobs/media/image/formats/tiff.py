"""TIFF: its first directory, and whether its pixel data is complete and unpacks."""

import struct
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image
from PIL.TiffImagePlugin import COMPRESSION_INFO, TiffImageFile

from fcos_core.errors import ImageError
from jobs.media.image import opencv, pillow
from jobs.media.image.formats.header import ImageHeader
from jobs.media.image.orientation import UPRIGHT

MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION = 256, 257, 258, 259, 262, 274
_SAMPLES, _PLANES, _EXTRA_SAMPLES, _SAMPLE_FORMAT = 277, 284, 338, 339
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_TAGS = {
    *(_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION),
    *(_SAMPLES, _PLANES, _EXTRA_SAMPLES, _SAMPLE_FORMAT),
    *(_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES),
}
_UNCOMPRESSED, _BLACK_IS_ZERO, _IN_PLANES = 1, 1, 2
_OPTIONAL_CODECS = {34925: "lzma", 50000: "zstd", 50001: "webp"}
"""Those that libtiff can be built without."""
_ALPHA = {1, 2}  # multiplied in already, and not
_GREY_OF_16_BITS = {"I;16", "I;16B"}
_COLOUR_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_BITS_PER_BYTE = 8
_SAMPLE_KINDS = {1: "unsigned", 2: "signed", 3: "float"}


class _Layout(NamedTuple):
    """The sizes in which TIFF and BigTIFF differ."""

    first_directory: int
    offset: str
    entry_count: str
    entry: str
    entry_bytes: int


_CLASSIC = _Layout(4, "I", "H", "HHI", 12)
_BIG = _Layout(8, "Q", "Q", "HHQ", 20)


@dataclass(frozen=True)
class _Directory:
    """The integer tags of the first image in the file."""

    tags: dict[int, tuple[int, ...]]

    def first(self, tag: int, default: int) -> int:
        return self.tags.get(tag, (default,))[0]

    @property
    def compression(self) -> int:
        return self.first(_COMPRESSION, _UNCOMPRESSED)

    @property
    def pixel_bits(self) -> int:
        return self.first(_BITS, 1) * self.first(_SAMPLES, 1)

    @property
    def is_misread(self) -> bool:
        """Whether Pillow takes the two bytes of a sample for two samples."""
        is_deep = self.first(_BITS, 1) > _BITS_PER_BYTE and self.first(_SAMPLES, 1) > 1
        in_planes = self.first(_PLANES, 1) == _IN_PLANES
        return is_deep and in_planes and self.compression == _UNCOMPRESSED

    def describe(self) -> str:
        kind = _SAMPLE_KINDS.get(self.first(_SAMPLE_FORMAT, 1), "unknown")
        codec = COMPRESSION_INFO.get(self.compression, "unknown")
        return (
            f"{self.first(_SAMPLES, 1)} x {self.first(_BITS, 1)}-bit {kind} samples, "
            f"compression {self.compression} ({codec})"
        )


def read_header(data: bytes) -> ImageHeader:
    """Read size and orientation of the first image.

    Raises:
        ImageError: the directory has no size.
    """
    directory = _read_directory(data)
    if _WIDTH not in directory.tags or _HEIGHT not in directory.tags:
        raise ImageError("corrupt TIFF: its first directory has no width or height")
    orientation = directory.first(_ORIENTATION, UPRIGHT)
    return ImageHeader(
        format="TIFF",
        width=directory.first(_WIDTH, 0),
        height=directory.first(_HEIGHT, 0),
        orientation=orientation if orientation in range(1, 9) else UPRIGHT,
    )


def decode(data: bytes, header: ImageHeader) -> npt.NDArray[np.uint8]:
    """Decode the first image, upright, after a check that every strip or tile is complete.

    OpenCV keeps the part of a damaged strip that it could unpack and goes on, so Pillow, which
    stops at damage, unpacks a compressed file too. TIFF is rare enough for the double work.
    Pillow's pixels are used where OpenCV decodes none.

    Raises:
        ImageError: the file is truncated, its data does not unpack, or neither decodes its kind.
    """
    directory = _read_directory(data)
    is_tiled = _TILE_OFFSETS in directory.tags
    starts = directory.tags.get(_TILE_OFFSETS if is_tiled else _STRIP_OFFSETS, ())
    sizes = directory.tags.get(_TILE_BYTES if is_tiled else _STRIP_BYTES, ())
    end = max((start + size for start, size in zip(starts, sizes, strict=False)), default=0)
    if end > len(data):
        raise ImageError(f"truncated TIFF: {len(data)} bytes, its pixel data ends at {end}")
    pixels = opencv.decode(data)
    if pixels is None:
        return _decode_with_pillow(data, header, directory, sum(sizes))
    if directory.compression != _UNCOMPRESSED:
        try:
            pillow.load(TiffImageFile, data, header.width, header.height)
        except NotImplementedError:
            return pixels  # unchecked: OpenCV alone decodes such a file
        except OSError as error:
            message = f"corrupt TIFF: its pixel data does not unpack: {error}"
            raise ImageError(message) from error
    return pixels


def _decode_with_pillow(
    data: bytes, header: ImageHeader, directory: _Directory, size_bytes: int
) -> npt.NDArray[np.uint8]:
    """Decode what OpenCV does not.

    Raises:
        ImageError: Pillow does not decode it either; the message says why.
    """
    needed = header.height * ((header.width * directory.pixel_bits + 7) // 8)
    if directory.compression == _UNCOMPRESSED and size_bytes < needed:
        reason = f"its strips or tiles have {size_bytes} bytes, {needed} needed"
    elif directory.is_misread:
        reason = "uncompressed planes of more than 8 bits are not supported"
    else:
        try:
            image = pillow.load(TiffImageFile, data, header.width, header.height)
        except NotImplementedError as error:
            reason = f"Pillow {PIL.__version__} does not support it: {error}"
        except OSError as error:
            codec = _OPTIONAL_CODECS.get(directory.compression)
            # To ask Pillow 12.0 for a codec that it lacks damages its memory.
            doubt = f" (it may be built without {codec})" if codec else ""
            reason = f"Pillow {PIL.__version__} cannot unpack it{doubt}: {error}"
        else:
            pixels = _to_rgb(image, directory)
            if pixels is not None:
                return pixels
            reason = f"its values (Pillow's mode {image.mode}) have no fixed black and white"
    raise ImageError(f"TIFF of {directory.describe()}: {reason}")


def _to_rgb(image: Image.Image, directory: _Directory) -> npt.NDArray[np.uint8] | None:
    bits = directory.first(_BITS, 1)
    if image.mode in _GREY_OF_16_BITS and directory.first(_PHOTOMETRIC, 0) == _BLACK_IS_ZERO:
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
        return np.repeat(grey[..., np.newaxis], 3, axis=2)
    if image.mode not in _COLOUR_MODES:
        return None
    has_alpha = directory.first(_EXTRA_SAMPLES, 0) in _ALPHA
    # Multiplied with alpha, as libtiff does for OpenCV.
    rgb = image.convert("RGBa" if image.mode == "RGBA" and has_alpha else "RGB")
    return np.array(np.asarray(rgb)[..., :3])


def _read_directory(data: bytes) -> _Directory:
    byte_order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(byte_order + "H", data, 2)
    layout = _BIG if version == ord("+") else _CLASSIC
    (start,) = struct.unpack_from(byte_order + layout.offset, data, layout.first_directory)
    (num_entries,) = struct.unpack_from(byte_order + layout.entry_count, data, start)
    entry = start + struct.calcsize(byte_order + layout.entry_count)
    tags: dict[int, tuple[int, ...]] = {}
    num_left = len(_TAGS) * len(data)  # each tag once, be it the whole file
    for _ in range(num_entries):
        tag, kind, count = struct.unpack_from(byte_order + layout.entry, data, entry)
        if tag in _TAGS and kind in _FORMATS and count:
            num_left -= count
            if num_left < 0:
                raise ImageError("corrupt TIFF: its directory lists more values than the file has")
            values = f"{byte_order}{count}{_FORMATS[kind]}"
            at = entry + struct.calcsize(byte_order + layout.entry)
            if struct.calcsize(values) > struct.calcsize(byte_order + layout.offset):
                (at,) = struct.unpack_from(byte_order + layout.offset, data, at)
            tags[tag] = struct.unpack_from(values, data, at)
        entry += layout.entry_bytes
    return _Directory(tags)
