"""Files that are packed as a whole, so that nothing in them can be read by its offset."""

from __future__ import annotations

HEAD_BYTES = 8
"""As many first bytes tell how a file is packed."""

EXTENSIONS = frozenset(
    ("gz", "tgz", "bz2", "tbz", "tbz2", "xz", "txz", "zst", "tzst", "lz4", "zip", "7z", "rar")
)
"""Extensions of packed files, in lower case."""

_MAGICS = {
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\x04\x22\x4d\x18": "compressed with lz4",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a rar archive",
}


def packing_of(head: bytes) -> str | None:
    """Say how a file with these first bytes is packed, as what it is; None when it is not."""
    return next((name for magic, name in _MAGICS.items() if head.startswith(magic)), None)
