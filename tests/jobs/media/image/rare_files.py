"""BMP and TIFF of kinds that Pillow does not write, and files taken apart."""

import re
import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

Masks = tuple[int, int, int, int]
"""Of red, green, blue and alpha; no alpha is 0."""

_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd8\xff]")


def bmp(
    rgb: np.ndarray,
    bits: int,
    *,
    header: int = 40,
    compression: int = 0,
    masks: Masks = (0, 0, 0, 0),
    top_down: bool = False,
) -> bytes:
    """Write 16, 24 or 32 bits per pixel; channels keep as many upper bits as their masks have."""
    rows = rgb if top_down else rgb[::-1]
    height, width, _ = rgb.shape
    if bits == 24:
        coded = rows[..., ::-1].astype(np.uint8).reshape(height, -1)
    else:
        places = masks if any(masks) else (0x7C00, 0x3E0, 0x1F, 0)
        values = sum(_placed(rows[..., i], places[i]) for i in range(3))
        coded = values.astype("<u2" if bits == 16 else "<u4").view(np.uint8).reshape(height, -1)
    pixels = np.pad(coded, ((0, 0), (0, -coded.shape[1] % 4))).tobytes()
    if header == 12:
        head = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        sides = width, -height if top_down else height
        head = struct.pack("<IiiHHIIiiII", header, *sides, 1, bits, compression, 0, 0, 0, 0, 0)
        num_masks = {3: 3, 6: 4}.get(compression, 0) if header == 40 else (header - 40) // 4
        head += struct.pack("<4I", *masks)[: 4 * num_masks]
        head = head.ljust(header, b"\0")
    offset = 14 + len(head)
    return b"BM" + struct.pack("<IHHI", offset + len(pixels), 0, 0, offset) + head + pixels


def _placed(channel: np.ndarray, mask: int) -> np.ndarray:
    shift, num_bits = (mask & -mask).bit_length() - 1, mask.bit_count()
    values = channel.astype(np.uint32)
    values = values >> (8 - num_bits) if num_bits <= 8 else values << (num_bits - 8)
    return values << shift


def tiff(
    samples: np.ndarray,
    bits: int,
    photometric: int,
    *,
    in_planes: bool = False,
    extra: Sequence[int] = (),
    compression: int = 1,
    orientation: int = 1,
) -> bytes:
    """Write one strip, or one for each plane, little-endian."""
    height, width, num_samples = samples.shape
    planes = np.moveaxis(samples, 2, 0)[..., None] if in_planes else samples[None]
    strips = [_packed(plane, bits) for plane in planes]
    if compression == 8:
        strips = [zlib.compress(strip) for strip in strips]
    tags = {
        256: [width],
        257: [height],
        258: [bits] * num_samples,
        259: [compression],
        262: [photometric],
        273: [0] * len(strips),
        274: [orientation],
        277: [num_samples],
        278: [height],
        279: [len(strip) for strip in strips],
        284: [2 if in_planes else 1],
        338: list(extra),
    }
    tags = {tag: values for tag, values in tags.items() if values}
    at = 8 + 2 + 12 * len(tags) + 4
    starts = np.cumsum([at + 4 * sum(map(len, tags.values())), *map(len, strips)])
    tags[273] = starts[:-1].tolist()
    entries, outside = b"", b""
    for tag, values in tags.items():
        coded = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            outside += coded
            coded = struct.pack("<I", at + len(outside) - 4 * len(values))
        entries += struct.pack("<HHI", tag, 4, len(values)) + coded
    outside = outside.ljust(int(starts[0]) - at, b"\0")
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0\x08\0\0\0" + directory + outside + b"".join(strips)


def _packed(plane: np.ndarray, bits: int) -> bytes:
    if bits >= 8 and bits % 8 == 0:
        return plane.astype(f"<u{bits // 8}").tobytes()
    rows = plane.reshape(len(plane), -1, 1) >> np.arange(bits - 1, -1, -1) & 1
    return np.packbits(rows.reshape(len(plane), -1).astype(np.uint8), axis=1).tobytes()


def jpeg_markers(data: bytes) -> list[int]:
    """Find the markers up to the first scan's, by their segments' lengths."""
    found = [2]
    while data[found[-1] + 1] != 0xDA:
        at = found[-1]
        found.append(at + 2 + int.from_bytes(data[at + 2 : at + 4], "big"))
    return found


def jpeg_scans(data: bytes) -> list[int]:
    """Find where the entropy-coded data of each scan ends."""
    starts = [match.start() for match in _JPEG_MARKER.finditer(data, jpeg_markers(data)[-1])]
    return [end for start, end in pairwise(starts) if data[start + 1] == 0xDA]


def png_chunks(data: bytes) -> list[bytes]:
    chunks: list[bytes] = []
    at = 8
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        chunks.append(data[at:end])
        at = end
    return chunks


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum
