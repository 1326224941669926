"""A video by its uri: a local path that FFmpeg opens, or an object that is read by ranges."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

from fcos_core.errors import VideoError
from jobs.media.video import VideoSource
from jobs.storage import storage_for
from jobs.storage.range_file import RangeFile

_READ_AHEAD_BYTES = 2**20


def video_source(uri: str) -> VideoSource:
    """Say how a video is opened: by its path, or by ranges where it lies in a bucket.

    Raises:
        VideoError: there is no such file.
    """
    info = storage_for(uri).stat(uri)
    if info is None:
        raise VideoError(f"{uri}: no such file")
    if "://" not in uri:
        return VideoSource(uri)

    def opener() -> BinaryIO:
        return cast("BinaryIO", io.BufferedReader(RangeFile(info), _READ_AHEAD_BYTES))

    return VideoSource(uri, opener)
