"""The frames of one segment: each comes out, or is said to be lost, once and in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from av.error import FFmpegError

from fcos_core.errors import VideoError
from jobs.media.video.counting import counted
from jobs.media.video.decoder import Decoder
from jobs.media.video.frames import Decoded, Frame, Lost, seconds
from jobs.media.video.rotation import Upright
from jobs.media.video.segment_decoder import SegmentDecoder
from jobs.media.video.segments import Segment
from jobs.media.video.source import OpenVideo, Packet, VideoSource, opened, reason_of
from jobs.media.video.wanted_frames import Choice

_STEPS_BACK_S = (0, 1, 10)
"""How much earlier to aim when a seek lands behind the key frame, as its decoding order allows."""

_GONE = "it is not in the file, which differs from when it was indexed"


def decode_segment(
    source: VideoSource, segment: Segment, *, threads: int = 1
) -> Iterator[Frame | Lost]:
    """Decode the frames of a segment, in the order they are shown, one at a time in memory.

    What cannot be decoded is no error here: it is part of what comes out. Only an error of the
    storage that the source reads from passes through.

    Args:
        source: the video.
        segment: of its index.
        threads: that convert a frame's colours together; one thread decodes.

    Yields:
        Frames and losses; together they are the segment's frames, each once and in order.
    """
    choice = Choice(segment)
    upright = Upright(threads)
    last, reason = segment.first_frame - 1, _GONE
    try:
        for event in _events(source, segment, choice):
            if isinstance(event, Lost):
                yield event
                last = event.last
            else:
                yield _with_pixels(event, upright, segment)
                last = event.index
    except VideoError as error:
        reason = str(error)
    missing, pts = choice.after(last)
    if missing:
        timestamp_s = None if pts is None else seconds(pts, segment.time_base)
        yield Lost(missing[0], missing[-1], pts, timestamp_s, reason)


def _with_pixels(decoded: Decoded, upright: Upright, segment: Segment) -> Frame | Lost:
    timestamp_s = seconds(decoded.pts, segment.time_base)
    try:
        pixels = upright(decoded.frame)
    except (FFmpegError, ValueError, VideoError) as error:
        return Lost(decoded.index, decoded.index, decoded.pts, timestamp_s, reason_of(error))
    return Frame(decoded.index, decoded.pts, timestamp_s, pixels)


def _events(source: VideoSource, segment: Segment, choice: Choice) -> Iterator[Decoded | Lost]:
    if segment.decode_from_pts is None:
        with opened(source, stream=segment.stream) as video:
            yield from _counted(video, segment, choice)
        return
    for find in (_seek_to, _read_to):
        with opened(source, stream=segment.stream) as video:
            packets = _readable(find(video, segment.decode_from_pts))
            first = next(packets, None)
            if first is None:
                continue
            decoder = SegmentDecoder(video, segment)
            yield from decoder.feed(first)
            while not decoder.is_complete and (packet := next(packets, None)) is not None:
                yield from decoder.feed(packet)
            yield from decoder.finish()
            return


def _counted(video: OpenVideo, segment: Segment, choice: Choice) -> Iterator[Decoded | Lost]:
    wanted = set(choice.within(segment.first_frame, 2**31))
    final = max(wanted)
    for event in counted(video):
        if isinstance(event, Decoded):
            if event.index in wanted:
                yield event
            if event.index >= final:
                return
        elif lost := choice.within(event.first, event.last):
            yield Lost(lost[0], lost[-1], event.pts, event.timestamp_s, event.reason)


def _readable(packets: Iterator[Packet]) -> Iterator[Packet]:
    with suppress(VideoError):  # what is behind was not in the index either
        yield from packets


def _seek_to(video: OpenVideo, pts: int) -> Iterator[Packet]:
    """Read from a key frame on, by way of the container's own index.

    Yields:
        The key frame's packet and all behind it; nothing when it was not found.
    """
    beginning = next((packet for packet in video.packets() if packet.is_keyframe), None)
    if beginning is None:
        return
    _show_beginning(video, beginning, pts)
    for step_s in _STEPS_BACK_S:
        aim = pts - round(step_s / (video.stream.time_base or 1))
        try:
            video.container.seek(aim, stream=video.stream, backward=True)
        except (FFmpegError, ValueError):
            continue
        packets = video.packets()
        for packet in packets:
            if packet.is_keyframe and packet.pts == pts:
                yield packet
                yield from packets
                return
            if packet.is_keyframe and packet.pts is not None and packet.pts > pts:
                break


def _read_to(video: OpenVideo, pts: int) -> Iterator[Packet]:
    """Read from a key frame on, having read everything before it.

    Yields:
        The key frame's packet and all behind it; nothing when it is not there.
    """
    is_found = has_begun = False
    for packet in video.packets():
        if packet.is_keyframe and not has_begun:
            has_begun = True
            _show_beginning(video, packet, pts)
        is_found = is_found or (packet.is_keyframe and packet.pts == pts)
        if is_found:
            yield packet


def _show_beginning(video: OpenVideo, packet: Packet, pts: int) -> None:
    """Let the decoder see the stream's first packet, unless it will anyhow.

    Encoders put their names there, and a decoder goes by them: x264's and Xvid's earlier versions
    have errors of their own, which it must know of to undo them.
    """
    if packet.pts == pts:
        return
    decoder = Decoder(video.context)
    decoder.decode(packet)  # damage is reported where the frame is wanted
    decoder.drain()
    decoder.flush()
