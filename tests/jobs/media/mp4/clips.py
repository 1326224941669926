"""Short videos of any kind, and the frames and sound that a player shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from jobs.media.mp4.mp4 import _write_matrix
from jobs.media.video import VideoSource
from jobs.media.video.source import open_container

WIDTH, HEIGHT = 64, 48
TICK = Fraction(1, 1000)
QUARTER_TURN = (0, 65536, 0, -65536, 0, 0, HEIGHT * 65536, 0, 2**30)


def image(i: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Draw a frame whose grey level is its number, with a white upper left corner."""
    pixels = np.full((height, width, 3), 40 + 5 * (i % 30), np.uint8)
    pixels[:8, :8] = 255
    return pixels


def write_clip(
    path: Path,
    *,
    times: Sequence[int] = tuple(range(0, 1200, 40)),
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound: str | None = None,
    sound_rate: int = 16000,
    time_base: Fraction = TICK,
    gop: int = 8,
    matrix: tuple[int, ...] | None = None,
) -> Path:
    """Write frames that are shown at given ticks, with B-frames unless the codec has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, options=options or {})
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        stream.codec_context.gop_size = gop
        tone = None if sound is None else container.add_stream(sound, sound_rate)
        if tone is not None:
            tone.codec_context.layout = "mono"
        for i, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(image(i, *size), format="rgb24")
            frame.pts, frame.time_base = pts, time_base
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
        if tone is not None:
            length_s = float(times[-1] * time_base)
            wave = np.sin(np.arange(int(length_s * sound_rate)) / 3) * 9000
            sample = av.AudioFrame.from_ndarray(
                wave.astype(np.int16)[None], format="s16", layout="mono"
            )
            sample.sample_rate, sample.pts = sound_rate, 0
            resampler = av.AudioResampler(tone.codec_context.format, "mono", sound_rate)
            for part in (*resampler.resample(sample), None):
                container.mux(tone.encode(part))
    if matrix is not None:
        with path.open("r+b") as file:
            _write_matrix(file, matrix)
    return path


@dataclass(frozen=True)
class Seen:
    """The frames, times and sound that a player shows."""

    times: list[float]
    duration_s: float
    rotation: int
    size: tuple[int, int]
    sound: list[tuple[str, int]]  # codec, number of packets


def seen(path: Path | str, stream: int | None = None) -> Seen:
    """Play a video."""
    with open_container(VideoSource(str(path)), None) as container:
        video = container.streams.video[0] if stream is None else container.streams[stream]
        number = video.index
        frames = list(container.decode(video))
        tick = video.time_base or Fraction(1)
        times = [float((frame.pts or 0) * tick) for frame in frames]
        duration = video.duration and float(video.duration * tick)
        size = (video.codec_context.width, video.codec_context.height)
        rotation = frames[0].rotation
        overall = (container.duration or 0) / av.time_base
    with open_container(VideoSource(str(path)), None) as container:
        best = container.streams.best("audio", related=container.streams[number])
        sound = []
        if best is not None:
            packets = [p for p in container.demux(best) if p.size]
            sound = [(best.codec_context.codec.canonical_name, len(packets))]
    return Seen(times, duration or overall, rotation, size, sound)
