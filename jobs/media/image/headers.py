"""Identifies an image's format by its content, and reads its header."""

import struct
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fcos_core.errors import ImageError
from jobs.media.image.formats import bmp, gif, jpeg, png, tiff, webp
from jobs.media.image.formats.header import ImageFormat, ImageHeader

_SHOWN_BYTES = 12
_FORM = slice(8, 12)
_BRAND = slice(4, 12)

_OTHERS = {
    b"%PDF": "a PDF document",
    b"8BPS": "a Photoshop image",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip data",
    b"\x00\x00\x01\x00": "an icon file",
    b"\xff\x0a": "a JPEG XL image",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL image",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 image",
    b"\xff\x4f\xff\x51": "a JPEG 2000 image",
    b"<svg": "an SVG drawing",
    b"<!DOCTYPE html": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML document",
    b"version https://git-lfs": "a Git LFS pointer; the image itself was not fetched",
    b"\x1aE\xdf\xa3": "a Matroska or WebM video",
}
"""Other formats that are often found in files named like images, for the error message."""


class Format(Protocol):
    """The functions that each module of ``jobs.media.image.formats`` has."""

    def read_header(self, data: bytes) -> ImageHeader: ...
    def decode(self, data: bytes, header: ImageHeader, /) -> npt.NDArray[np.uint8]: ...


FORMATS: dict[ImageFormat, Format] = {
    "JPEG": jpeg,
    "PNG": png,
    "WebP": webp,
    "BMP": bmp,
    "TIFF": tiff,
    "GIF": gif,
}

_MAGICS: dict[ImageFormat, tuple[bytes, ...]] = {
    "JPEG": jpeg.MAGICS,
    "PNG": png.MAGICS,
    "BMP": bmp.MAGICS,
    "TIFF": tiff.MAGICS,
    "GIF": gif.MAGICS,
}


def read_header(data: bytes) -> ImageHeader:
    """Read an image's format by its content, its stored size and its orientation.

    Raises:
        ImageError: the bytes are no image of a known format, end inside its header, or give it
            no area. The message does not name the file.
    """
    image_format = identify_format(data)
    with report_truncation("header", data, image_format):
        header = FORMATS[image_format].read_header(data)
    if header.width < 1 or header.height < 1:
        message = f"{image_format} of {header.width} x {header.height} pixels has no area"
        raise ImageError(message)
    return header


@contextmanager
def report_truncation(part: str, data: bytes, image_format: ImageFormat) -> Generator[None]:
    """Turn a read behind the last byte into an error that names the part of the file.

    Yields:
        Once, to the code that reads.

    Raises:
        ImageError: the code reads behind the last byte.
    """
    try:
        yield
    except (struct.error, IndexError, OverflowError) as error:
        message = f"truncated {image_format}: {len(data)} bytes end inside its {part}"
        raise ImageError(message) from error


def identify_format(data: bytes) -> ImageFormat:
    """Identify an image's format by its first bytes.

    Raises:
        ImageError: the format is not supported; the message says what the bytes look like.
    """
    for image_format, magics in _MAGICS.items():
        if data.startswith(magics):
            return image_format
    if data.startswith(webp.CONTAINER) and data[_FORM] == webp.FORM:
        return "WebP"
    if not data:
        raise ImageError("empty file (0 bytes)")
    raise ImageError(f"not a supported image: {_describe(data)}")


def _describe(data: bytes) -> str:
    begin = f"begins with {data[:_SHOWN_BYTES]!r}"
    for magic, name in _OTHERS.items():
        if data.startswith(magic):
            return f"{begin}, {name}"
    if data[_BRAND].startswith(b"ftyp"):
        return f"{begin}, an ISO media file (AVIF, HEIC, MP4) of brand {data[8:12]!r}"
    if not data.strip(b"\0"):
        return f"{len(data)} bytes, all zero"
    return begin
