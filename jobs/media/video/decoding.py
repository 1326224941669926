"""The frames of one segment: each is given once and in order, as pixels or as lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

from av.error import FFmpegError

from fcos_core.errors import VideoError
from jobs.media.video.counting import decode_and_count
from jobs.media.video.decoder import Decoder
from jobs.media.video.frames import Decoded, Frame, Lost, seconds
from jobs.media.video.rotation import FrameConverter
from jobs.media.video.segment_decoder import SegmentDecoder
from jobs.media.video.segments import Segment
from jobs.media.video.source import OpenVideo, Packet, VideoSource, open_video, reason_of
from jobs.media.video.wanted_frames import WantedFrames

_STEPS_BACK_S = (0, 1, 10)
"""How much earlier to seek when a seek lands behind the key frame, as decoding order allows."""

_GONE = "it is not in the file, which differs from when it was indexed"


def decode_segment(
    source: VideoSource, segment: Segment, *, threads: int = 1
) -> Iterator[Frame | Lost]:
    """Decode the frames of a segment, in the order they are shown, one at a time in memory.

    Damage raises no error: it becomes a loss. Only an error of the storage that the source reads
    from is raised.

    Args:
        source: the video.
        segment: a part of the video's index.
        threads: number of threads that share the conversion of a frame's colours; one decodes.

    Yields:
        Frames and losses; together they are the segment's frames, each once and in order.
    """
    wanted = WantedFrames(segment)
    converter = FrameConverter(threads)
    last, reason = segment.first_frame - 1, _GONE
    try:
        for event in _events(source, segment, wanted):
            if isinstance(event, Lost):
                yield event
                last = event.last
            else:
                yield _with_pixels(event, converter, segment)
                last = event.index
    except VideoError as error:
        reason = str(error)
    missing, pts = wanted.after(last)
    if missing:
        timestamp_s = None if pts is None else seconds(pts, segment.time_base)
        yield Lost(missing[0], missing[-1], pts, timestamp_s, reason)


def _with_pixels(decoded: Decoded, converter: FrameConverter, segment: Segment) -> Frame | Lost:
    timestamp_s = seconds(decoded.pts, segment.time_base)
    try:
        pixels = converter.convert(decoded.frame)
    except (FFmpegError, ValueError, VideoError) as error:
        return Lost(decoded.index, decoded.index, decoded.pts, timestamp_s, reason_of(error))
    return Frame(decoded.index, decoded.pts, timestamp_s, pixels)


def _events(
    source: VideoSource, segment: Segment, wanted: WantedFrames
) -> Iterator[Decoded | Lost]:
    if segment.decode_from_pts is None:
        with open_video(source, stream=segment.stream) as video:
            yield from _decode_counted(video, segment, wanted)
        return
    for find in (_seek_to, _read_to):
        with open_video(source, stream=segment.stream) as video:
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


def _decode_counted(
    video: OpenVideo, segment: Segment, wanted: WantedFrames
) -> Iterator[Decoded | Lost]:
    places = set(wanted.within(segment.first_frame, 2**31))
    last_place = max(places)
    for event in decode_and_count(video):
        if isinstance(event, Decoded):
            if event.index in places:
                yield event
            if event.index >= last_place:
                return
        elif lost := wanted.within(event.first, event.last):
            yield Lost(lost[0], lost[-1], event.pts, event.timestamp_s, event.reason)


def _readable(packets: Iterator[Packet]) -> Iterator[Packet]:
    with suppress(VideoError):  # the index ends at the same error
        yield from packets


def _seek_to(video: OpenVideo, pts: int) -> Iterator[Packet]:
    # The key frame's packet and all packets behind it; nothing when the container's own index does
    # not lead there.
    packets = video.packets()
    first = _open_stream(video, packets)
    if first is None:
        return
    if first.pts == pts:  # read once: a palette comes with the first packet, and not after a seek
        yield first
        yield from packets
        return
    _show(video, first)
    for step_s in _STEPS_BACK_S:
        target = pts - round(step_s / video.time_base)
        try:
            video.container.seek(target, stream=video.stream, backward=True)
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
    # The same packets, read from the start of the stream.
    packets = video.packets()
    first = _open_stream(video, packets)
    if first is None:
        return
    if first.pts != pts:
        _show(video, first)
    is_found = False
    for packet in chain((first,), packets):
        is_found = is_found or (packet.is_keyframe and packet.pts == pts)
        if is_found:
            yield packet


def _open_stream(video: OpenVideo, packets: Iterator[Packet]) -> Packet | None:
    """Read up to the first key frame, and return its packet."""
    first = next(packets, None)
    if first is None or first.is_keyframe:
        return first
    _show(video, first)
    return next((packet for packet in packets if packet.is_keyframe), None)


def _show(video: OpenVideo, packet: Packet) -> None:
    """Let the decoder see one of the stream's first packets, at which decoding does not begin.

    Encoders write their names into it: early versions of x264 and Xvid have errors of their own,
    which the decoder corrects when it knows the name. Containers put a palette beside it.
    """
    decoder = Decoder(video.context)
    decoder.decode(packet)  # damage is reported by the segment of this frame
    decoder.drain()
    decoder.flush()
