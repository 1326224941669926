"""Indexes the videos of a run before its manifest is written: in processes that may die.

What a damaged file does to a demuxer or decoder must not end the driver. So videos are indexed by
child processes, some at once; one that dies or hangs costs a video its place in the run, and that
only after it died again with nothing beside it. On a cluster the children are started by Ray tasks.
"""

from __future__ import annotations

import logging
import os
import pickle
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from fcos_core.errors import ConfigError, StorageError
from jobs.media.video import Sampling
from jobs.runtime.block_tasks import map_blocks
from jobs.runtime.cores import num_cores
from jobs.runtime.video_segments import PlannedVideo, plan_video

_log = logging.getLogger(__name__)

SEGMENT_ROWS = 256
"""Frames of a segment, at least: some ten seconds of video, and some seconds of work."""

_BLOCK_VIDEOS = 16  # a child is started for so many
_RAY_FROM_VIDEOS = 64  # below, a cluster's tasks cost more than they bring
_START_TIMEOUT_S = 120.0
_VIDEO_TIMEOUT_S = 600.0
_ATTEMPTS_ALONE = 2
_LENGTH_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """What to do with each video.

    Attributes:
        stream: index of a stream in its file; None takes the best.
        sampling: which frames to look at.
        rows_per_segment: see ``plan_video``.
    """

    stream: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    rows_per_segment: int = SEGMENT_ROWS


def plan_videos(
    uris: Sequence[str], request: VideoRequest, *, address: str | None
) -> dict[str, PlannedVideo]:
    """Index and cut videos.

    Args:
        uris: of the videos.
        request: what to do with each.
        address: of a Ray cluster, which shares the work where there is enough of it.

    Returns:
        What became of each; also of those that cannot be used.

    Raises:
        ConfigError: the storage fails.
    """
    blocks = [uris[i : i + _BLOCK_VIDEOS] for i in range(0, len(uris), _BLOCK_VIDEOS)]
    function = partial(_plan_block, request)
    planned: dict[str, PlannedVideo] = {}
    try:
        if address is not None and len(uris) >= _RAY_FROM_VIDEOS:
            results = map_blocks(function, blocks, num_workers=None, address=address)
            found = [one for block in results for one in block]
        else:
            smaller = [[uri] for uri in uris] if len(uris) <= num_cores() else blocks
            with ThreadPoolExecutor(max(1, num_cores())) as pool:
                found = [one for block in pool.map(function, smaller) for one in block]
    except StorageError as error:
        raise ConfigError(f"input cannot be read: {error}") from error
    for uri, one in zip(uris, found, strict=True):
        planned[uri] = one
        if one.note is not None:
            _log.warning("%s", one.note)
    return planned


def plan_alone(uri: str) -> PlannedVideo:
    """Index one video, whatever its stream, in a child of its own."""
    (planned,) = _plan_block(VideoRequest(), [uri])
    return planned


def _plan_block(request: VideoRequest, uris: Sequence[str]) -> list[PlannedVideo]:
    """Index some videos in a child, and again without those that it died of.

    Raises:
        StorageError: the storage failed.
    """
    planned: list[PlannedVideo] = []
    failures = 0
    while len(planned) < len(uris):
        # After a death, the video that it happened at is tried with nothing before it.
        wanted = uris[len(planned) :] if not failures else uris[len(planned) : len(planned) + 1]
        with _Child(request, wanted) as child:
            for result in child.results():
                if isinstance(result, StorageError):
                    raise result
                planned.append(result)
                failures = 0
        if child.fate is None:
            continue
        failures += 1
        if failures > _ATTEMPTS_ALONE:
            note = f"{uris[len(planned)]}: whoever indexes it dies: {child.fate}"
            planned.append(PlannedVideo(width=None, height=None, segments=(), note=note))
            failures = 0
    return planned


class _Child:
    """A process that indexes videos, one after the other.

    Attributes:
        fate: why it ended before it was done; None while nothing is wrong.
    """

    def __init__(self, request: VideoRequest, uris: Sequence[str]) -> None:
        self.fate: str | None = None
        self._num_left = len(uris)
        self._process = subprocess.Popen(  # noqa: S603 -- ourselves
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._job = pickle.dumps((request, list(uris)))

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()

    def results(self) -> Iterator[PlannedVideo | StorageError]:
        """Wait for result after result, until all are there or the process has met its fate.

        Yields:
            The next one.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(self._job)
            self._process.stdin.close()
        except BrokenPipeError:
            self.fate = self._end()
            return
        timeout_s = _START_TIMEOUT_S + _VIDEO_TIMEOUT_S
        while self._num_left:
            header = self._read(_LENGTH_BYTES, timeout_s)
            data = None if header is None else self._read(int.from_bytes(header), timeout_s)
            if data is None:
                return
            self._num_left -= 1
            yield pickle.loads(data)  # noqa: S301 -- our own process
            timeout_s = _VIDEO_TIMEOUT_S

    def _read(self, size: int, timeout_s: float) -> bytes | None:
        """Read so many bytes; None when they do not come, and then there is a fate."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout_s
        data = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while len(data) < size:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.fate = f"it took longer than {timeout_s:g} s"
                    return None
                part = os.read(self._process.stdout.fileno(), size - len(data))
                if not part:
                    self.fate = self._end()
                    return None
                data += part
        return data

    def _end(self) -> str:
        code = self._process.wait(_START_TIMEOUT_S)
        return f"signal {-code}" if code < 0 else f"exit code {code}"


def serve() -> None:
    """What a child does: the job from stdin, a result per video to stdout."""
    request, uris = pickle.loads(sys.stdin.buffer.read())  # noqa: S301 -- our own parent
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else is printed must not come between the results
    plan = partial(
        plan_video,
        stream=request.stream,
        sampling=request.sampling,
        rows_per_segment=request.rows_per_segment,
    )
    for uri in uris:
        result: PlannedVideo | StorageError
        try:
            result = plan(uri)
        except StorageError as error:
            result = StorageError(str(error))
        data = pickle.dumps(result)
        output.write(len(data).to_bytes(_LENGTH_BYTES) + data)
        output.flush()
