"""Tells a video by the first bytes of its file, for files whose names say nothing."""

SIGNATURE_BYTES = 512

_IMAGES_IN_ISO_BOXES = {b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1", b"crx "}
_TS_PACKET_BYTES, _TS_SYNC = 188, 0x47


def looks_like_video(head: bytes) -> bool:
    """Check the first ``SIGNATURE_BYTES`` of a file for MP4, Matroska, AVI and other formats."""
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free"}:
        return head[8:12] not in _IMAGES_IN_ISO_BOXES
    if head[:4] == b"RIFF":
        return head[8:12] == b"AVI "
    is_ts = len(head) > _TS_PACKET_BYTES and head[0] == head[_TS_PACKET_BYTES] == _TS_SYNC
    return is_ts or head.startswith(
        (
            b"\x1a\x45\xdf\xa3",  # Matroska, WebM
            b"\x00\x00\x01\xba",  # MPEG program stream
            b"FLV\x01",
            b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
            b"OggS",
        )
    )
