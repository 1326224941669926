"""Sound images to damage: real ones in every format that is decoded, and files that are odd."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.jobs.media.image.files import photo
from tests.jobs.media.image.rare_files import bmp, tiff

_SIDE_PX = 96
_NUM_PHOTOS = 4
_LARGEST_BYTES = 90_000

_FORMATS: tuple[tuple[str, dict[str, object]], ...] = (
    ("JPEG", {"quality": 85}),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"subsampling": 0, "restart_marker_blocks": 4}),
    ("PNG", {}),
    ("WebP", {}),
    ("WebP", {"lossless": True}),
    ("BMP", {}),
    ("GIF", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_deflate"}),
    ("TIFF", {"compression": "jpeg"}),
    ("TIFF", {"compression": "packbits"}),
    ("TIFF", {"compression": "lzma"}),
)
_ANIMATED = ("PNG", "GIF", "WebP", "TIFF")
_HIGH_COLOUR, _RGBX = (0xF800, 0x7E0, 0x1F, 0), (0xFF000000, 0xFF0000, 0xFF00, 0)
_MODES = (
    *(("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "PNG"), ("I;16", "PNG")),
    *(("L", "TIFF"), ("CMYK", "TIFF"), ("RGBA", "TIFF"), ("1", "TIFF"), ("I;16", "TIFF")),
    *(("RGBA", "WebP"), ("L", "BMP"), ("1", "BMP")),
)


def sound_images(shared_data: Path) -> dict[str, bytes]:
    """Gather small files of every kind, by a name that says the kind.

    Args:
        shared_data: the folder of real photos and odd files.
    """
    found: dict[str, bytes] = {}
    photos = sorted((shared_data / "coco_tiny" / "val2017").glob("*.jpg"))[:_NUM_PHOTOS]
    for number, path in enumerate(photos):
        with Image.open(path) as image:
            small = image.convert("RGB")
        small.thumbnail((_SIDE_PX, _SIDE_PX))
        for i, (image_format, settings) in enumerate(_FORMATS):
            found[f"{number}-{i}.{image_format.lower()}"] = _encode(small, image_format, settings)
        for mode, image_format in _MODES:
            name = f"{number}-{mode.replace(';', '')}.{image_format.lower()}"
            found[name] = _encode(
                small.convert("L").convert(mode) if ";" in mode else small.convert(mode),
                image_format,
                {},
            )
    found |= _rare_images()
    for path in sorted((shared_data / "hard").iterdir()):
        data = path.read_bytes()
        if len(data) <= _LARGEST_BYTES:
            found[path.name] = data
    return found


def _rare_images() -> dict[str, bytes]:
    image = photo()
    frames: dict[str, object] = {"save_all": True, "append_images": [image.rotate(180)]}
    found = {f"frames.{name.lower()}": _encode(image, name, frames) for name in _ANIMATED}
    rgb = np.asarray(image)
    for bits, header, masks in ((16, 124, _HIGH_COLOUR), (32, 40, _RGBX)):
        found[f"{bits}.bmp"] = bmp(rgb, bits, header=header, compression=3, masks=masks)
    found["five.tif"] = tiff(np.dstack([rgb, rgb[..., :2]]), 8, 2, extra=(0, 0))
    return found


def _encode(image: Image.Image, image_format: str, settings: dict[str, object]) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **settings)
    return stream.getvalue()
