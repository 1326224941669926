"""Small images written by Pillow, which shares no code with our decoder."""

import io

import numpy as np
from PIL import Image

FORMATS = ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF")


def photo(width: int = 60, height: int = 40) -> Image.Image:
    """An image whose corners, channels and rows all differ; smooth enough for JPEG."""
    y, x = np.mgrid[0:height, 0:width]
    channels = (x * 200 / width + 20, y * 220 / height, (x + y) * 120 / (width + height) + 60)
    pixels = np.stack(channels, axis=-1).astype(np.uint8)
    pixels[: height // 4, : width // 3] = (220, 30, 10)
    return Image.fromarray(pixels)


def encode(image: Image.Image, image_format: str, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **settings)
    return file.getvalue()


def oriented(image: Image.Image, image_format: str, orientation: int) -> bytes:
    if image_format == "TIFF":
        return encode(image, "TIFF", tiffinfo={0x0112: orientation})
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"lossless": True} if image_format == "WebP" else {}
    return encode(image, image_format, exif=exif, **settings)


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
