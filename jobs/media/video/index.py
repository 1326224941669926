"""The index of a video: its frames in the order they are shown, from packets, without decoding.

A packet is one frame, and has the time when it is shown. The first few are decoded, to check this
and to learn the size of a frame. Where it is not so, or packets have no times, the whole stream is
decoded once to count: such a video is one segment, and ``serial_because`` says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from av.video.frame import VideoFrame

from fcos_core.errors import VideoError
from jobs.media.video.counting import decode_and_count, usual_step
from jobs.media.video.decoder import Decoder
from jobs.media.video.frames import Lost
from jobs.media.video.keyframes import PacketReader
from jobs.media.video.parameters import ParameterChanges
from jobs.media.video.rotation import upright_size
from jobs.media.video.sampling import Ticks
from jobs.media.video.source import OpenVideo, Packet, VideoSource, open_video

_PROBED_PACKETS = 16
_LARGEST_EMPTY_MPEG4_BYTES = 16  # a packet this small may stand for no new frame
_SEEKABLE = frozenset(("mov", "matroska", "avi"))
"""Containers in which reading after a seek gives the same packets as reading from the start."""


class Entry(NamedTuple):
    """Where decoding can begin: the first frame decoded correctly, and the key frame's ticks."""

    frame: int
    pts: int


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoIndex:
    """What is known of a video before it is decoded.

    Attributes:
        stream: index of the stream in its file.
        time_base: seconds of a tick.
        width: pixels of the first frame, upright.
        height: pixels of the first frame, upright.
        timestamps: ticks when each frame is shown, rising; one per frame.
        entries: where decoding can begin, rising, the first for frame 0; none where frames were
            counted by decoding.
        serial_because: why the video is one segment; None where it may be split.
        damage: why its end could not be read; None where it could.
        codec: name of the decoder.
    """

    stream: int
    time_base: Fraction
    width: int
    height: int
    timestamps: Ticks
    entries: Sequence[Entry]
    serial_because: str | None
    damage: str | None
    codec: str

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.timestamps)


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    is_shown: bool
    is_key: bool
    is_entry: bool
    change: str | None


class _UntrustedError(Exception):
    """The packets do not tell the frames; the message says why."""


def index_video(source: VideoSource, *, stream: int | None = None) -> VideoIndex:
    """Look at every packet of a video: find its frames, and where decoding can begin.

    Args:
        source: the video.
        stream: index of a stream in its file; None takes the best.

    Raises:
        VideoError: the file is no video, or no frame can be decoded.
    """
    try:
        return _index(source, stream)
    except VideoError as error:
        raise VideoError(f"{source.uri}: {error}") from error


def _index(source: VideoSource, stream: int | None) -> VideoIndex:
    with open_video(source, stream=stream) as video:
        number, time_base = video.stream.index, video.time_base
        codec, container = video.context.name, video.container.format.name
        largest_gap = video.largest_gap
        packets, damage = _read_packets(video)
    serial_because = None
    entries: Sequence[Entry]
    try:
        timestamps, entries = _in_order(packets, codec, largest_gap)
        _refuse_changes(packets)
        with open_video(source, stream=number) as video:
            width, height = _probe(video, timestamps)
        if container.split(",")[0] not in _SEEKABLE:
            entries, serial_because = entries[:1], f"a seek in {container} is not exact"
    except _UntrustedError as error:
        entries, serial_because = (), str(error)
        with open_video(source, stream=number) as video:
            timestamps, width, height = _count(video)
    return VideoIndex(
        stream=number,
        time_base=time_base,
        width=width,
        height=height,
        timestamps=timestamps,
        entries=entries,
        serial_because=serial_because,
        damage=damage,
        codec=codec,
    )


def _read_packets(video: OpenVideo) -> tuple[list[_Packet], str | None]:
    reader = PacketReader(video.context.name, video.context.extradata)
    changes = ParameterChanges(video.context.name, video.context.extradata)
    smallest = _LARGEST_EMPTY_MPEG4_BYTES if video.context.name == "mpeg4" else 0
    is_seekable = video.container.format.name.split(",")[0] in _SEEKABLE
    found: list[_Packet] = []
    try:
        for packet in video.packets():
            may_be_empty = packet.size <= smallest
            is_entry = reader.is_entry(packet)
            change = "its palette changes" if found and packet.has_sidedata("palette") else None
            if is_seekable and changes.is_needed(packet, is_entry=is_entry):
                change = "its parameters change"
            found.append(
                _Packet(
                    pts=None if may_be_empty else packet.pts,
                    dts=packet.dts,
                    is_shown=reader.is_shown(packet),
                    is_key=packet.is_keyframe,
                    is_entry=is_entry,
                    change=change,
                )
            )
    except VideoError as error:
        return found, str(error)
    return found, None


def _in_order(
    packets: Sequence[_Packet], codec: str, largest_gap: float
) -> tuple[Ticks, list[Entry]]:
    # The frames as they are shown, and where decoding can begin.
    first = next((i for i, packet in enumerate(packets) if packet.is_key), None)
    if first is None:
        raise VideoError(f"no key frame among its {len(packets)} packets of {codec}")
    shown: list[int] = []
    keys: list[int] = []
    highest: int | None = None
    last_dts: int | None = None
    for packet in packets[first:]:
        if packet.pts is None:
            raise _UntrustedError("its packets do not all say when they are shown")
        if packet.dts is not None:
            if last_dts is not None and not 0 <= packet.dts - last_dts <= largest_gap:
                raise _UntrustedError("its times fall, as in a file that was joined from pieces")
            last_dts = packet.dts
        if highest is None or (packet.is_entry and packet.pts > highest):
            keys.append(packet.pts)
        highest = packet.pts if highest is None else max(highest, packet.pts)
        # Frames that are shown before the first key frame lack their references.
        if packet.is_shown and packet.pts >= keys[0]:
            shown.append(packet.pts)
    if not shown:
        raise VideoError("no frame is shown: its edit list cuts them all")
    timestamps = np.sort(np.array(shown, np.int64))
    if (np.diff(timestamps) == 0).any():
        raise _UntrustedError("two of its frames have the same time")
    places = np.searchsorted(timestamps, keys).tolist()
    entries = [
        Entry(frame, pts)
        for (frame, pts), (next_frame, _) in pairwise(
            [*zip(places, keys, strict=True), (len(timestamps), 0)]
        )
        if frame < next_frame  # otherwise no frame of this group is shown
    ]
    return timestamps, entries


def _refuse_changes(packets: Sequence[_Packet]) -> None:
    # To leave one segment is not enough: it skips groups of which no frame is sampled.
    for packet in packets:
        if packet.change is not None:
            raise _UntrustedError(packet.change)


def _probe(video: OpenVideo, timestamps: Ticks) -> tuple[int, int]:
    # Checks that each of the first packets gives its one frame. Returns the upright size of the
    # first frame, or the header's where it cannot be decoded.
    reader = PacketReader(video.context.name, video.context.extradata)
    packets, is_damaged = _first_packets(video)
    expected = [
        packet.pts for packet in packets if reader.is_shown(packet) and packet.pts is not None
    ]
    found: list[VideoFrame] = []
    decoder = Decoder(video.context)
    for packet in packets:
        frames, error = decoder.decode(packet)
        found += frames
        is_damaged |= error is not None
    found += decoder.drain()
    is_damaged |= any(frame.is_corrupt for frame in found)
    lowest = int(timestamps[0])
    if not is_damaged and sorted(pts for pts in expected if pts >= lowest) != [
        frame.pts for frame in found if frame.pts is None or frame.pts >= lowest
    ]:
        raise _UntrustedError("its packets are not one frame each")
    size = upright_size(found[0]) if found else (video.context.width, video.context.height)
    if not all(size):
        raise VideoError("none of its first packets can be decoded, and its header gives no size")
    return size


def _first_packets(video: OpenVideo) -> tuple[list[Packet], bool]:
    found: list[Packet] = []
    try:
        for packet in video.packets():
            if found or packet.is_keyframe:
                found.append(packet)
            if len(found) == _PROBED_PACKETS:
                break
    except VideoError:
        return found, True
    return found, False


def _count(video: OpenVideo) -> tuple[Ticks, int, int]:
    timestamps: list[int] = []
    size: tuple[int, int] | None = None
    step = usual_step(video)
    for event in decode_and_count(video):
        if isinstance(event, Lost):
            start = event.pts or 0
            timestamps.extend(start + i * step for i in range(event.last - event.first + 1))
        else:
            timestamps.append(event.pts)
            size = size or upright_size(event.frame)
    if size is None:
        raise VideoError("none of its frames can be decoded")
    return np.array(timestamps, np.int64), *size
