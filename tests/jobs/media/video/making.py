"""Makes small videos of every awkward kind, with PyAV's own encoders."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

SIZE = (64, 48)
X265_QUIET = "log-level=none:pools=1:frame-threads=1"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to encode a stream; the rest is x264 in an mp4 at 25 frames a second."""

    codec: str = "libx264"
    name: str = "clip.mp4"
    num_frames: int = 60
    size: tuple[int, int] = SIZE
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)
    gop: int = 12
    rate: int = 25
    ticks: Sequence[int] | None = None
    time_base: Fraction = Fraction(1, 12800)
    interlaced: bool = False


def image(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Draw the pixels of a frame: no two frames are equal, and none equals its mirror image."""
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    red = (x * 3 + number * 5) % 256
    green = (y * 4 + number * 3) % 256
    blue = ((x + y) * 2 + number * 7) % 256
    pixels = np.stack([red, green, blue], axis=2).astype(np.uint8)
    left = number * 2 % (width - 12)
    pixels[height // 3 : height // 3 + 10, left : left + 12] = (250, 20, 20)
    return pixels


def write_video(folder: Path, recipe: Recipe) -> Path:
    """Encode one stream into a file."""
    path = folder / recipe.name
    with av.open(str(path), "w", options=recipe.container_options) as container:
        stream = add_stream(container, recipe)
        ticks = recipe.ticks or [
            round(i / recipe.rate / recipe.time_base) for i in range(recipe.num_frames)
        ]
        for number, tick in enumerate(ticks):
            container.mux(stream.encode(frame_of(number, tick, recipe)))
        container.mux(stream.encode(None))
    restore_scheduling()
    return path


def restore_scheduling() -> None:
    """Undo what SVT-AV1 does as root: it gives its process and all children real-time priority."""
    for thread in Path("/proc/self/task").glob("*"):
        with suppress(ProcessLookupError):  # it has ended
            if os.sched_getscheduler(int(thread.name)) != os.SCHED_OTHER:
                os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


def add_stream(container: av.container.OutputContainer, recipe: Recipe) -> av.VideoStream:
    """Add an encoded stream to a container."""
    stream = container.add_stream(recipe.codec, rate=recipe.rate, options=recipe.options)
    stream.width, stream.height = recipe.size
    stream.pix_fmt = recipe.pix_fmt
    stream.codec_context.time_base = recipe.time_base
    stream.codec_context.gop_size = recipe.gop
    stream.codec_context.thread_count = 1
    return stream


def frame_of(number: int, tick: int, recipe: Recipe) -> VideoFrame:
    """Make one frame to be encoded."""
    frame = VideoFrame.from_ndarray(image(number, recipe.size), format="rgb24")
    frame = frame.reformat(format=recipe.pix_fmt)
    frame.pts, frame.time_base = tick, recipe.time_base
    return frame


def write_two_streams(folder: Path) -> Path:
    """Write a file with a small video stream and a larger one behind it."""
    small, large = Recipe(size=(32, 32), num_frames=20), Recipe(num_frames=30)
    path = folder / "two-streams.mp4"
    with av.open(str(path), "w") as container:
        streams = [(add_stream(container, recipe), recipe) for recipe in (small, large)]
        for number in range(30):
            for stream, recipe in streams:
                if number < recipe.num_frames:
                    tick = round(number / recipe.rate / recipe.time_base)
                    container.mux(stream.encode(frame_of(number, tick, recipe)))
        for stream, _ in streams:
            container.mux(stream.encode(None))
    return path


def write_audio(folder: Path) -> Path:
    """Write a file with sound and no video stream."""
    path = folder / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def rewrite(
    path: Path,
    folder: Path,
    name: str,
    *,
    keep: Callable[[int, av.Packet], bool] = lambda _number, _packet: True,
    edit: Callable[[bytes], bytes] = lambda content: content,
    shift: int = 0,
) -> Path:
    """Copy the packets of a video's first stream into another container, edited."""
    target = folder / name
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.size and keep(number, packet):
                assert packet.pts is not None
                assert packet.dts is not None
                copied = av.Packet(edit(bytes(packet)))
                copied.pts, copied.dts = packet.pts + shift, packet.dts + shift
                copied.time_base, copied.duration = packet.time_base, packet.duration
                copied.is_keyframe = packet.is_keyframe
                copied.stream = stream
                container.mux(copied)
    return target


def rotate(path: Path, folder: Path, name: str, matrix: Sequence[int]) -> Path:
    """Write another display matrix (a, b, c, d: each -1, 0 or 1) into an mp4's track header."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes before the matrix
    a, b, c, d = (value * 0x10000 for value in matrix)
    values = (a, b, 0, c, d, 0, 0, 0, 0x40000000)
    data[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    target = folder / name
    target.write_bytes(data)
    return target


def set_edit(path: Path, folder: Path, name: str, media_time: int) -> Path:
    """Write another first tick into the edit list of an mp4."""
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 4 + 4 + 4 + 4  # version and flags, count, duration
    data[place : place + 4] = media_time.to_bytes(4, "big")
    target = folder / name
    target.write_bytes(data)
    return target


VPX_WITH_HIDDEN_FRAMES = {
    "deadline": "realtime",
    "cpu-used": "8",
    "auto-alt-ref": "1",
    "lag-in-frames": "12",
}
VFR = [0, 512, 1024, 1100, 3000, 9000, 9010, 9500, 20000, 20001, 30000, 31000, 60000, 60512]
RECIPES: dict[str, Recipe] = {
    "b_frames": Recipe(options={"bf": "3", "b-pyramid": "normal", "refs": "4"}),
    "open_gop": Recipe(
        options={
            "x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-pyramid=2:scenecut=0"
        }
    ),
    "open_gop_mkv": Recipe(
        name="clip.mkv",
        time_base=Fraction(1, 1000),
        options={
            "x264-params": "open-gop=1:keyint=10:min-keyint=10:bframes=5:b-adapt=0:scenecut=0"
        },
    ),
    "intra_refresh": Recipe(options={"x264-params": "intra-refresh=1:keyint=12:bframes=0"}),
    "x265_open_gop": Recipe(
        codec="libx265",
        options={"x265-params": "keyint=12:min-keyint=12:bframes=4:open-gop=1:" + X265_QUIET},
    ),
    "x265_10_bit": Recipe(
        codec="libx265",
        pix_fmt="yuv420p10le",
        options={"x265-params": "keyint=12:" + X265_QUIET},
    ),
    "x264_10_bit_422": Recipe(pix_fmt="yuv422p10le"),
    "x264_444": Recipe(pix_fmt="yuv444p", options={"profile": "high444"}),
    "interlaced": Recipe(
        options={"x264-params": "tff=1:keyint=12:bframes=2"}, size=(64, 64), interlaced=True
    ),
    "odd_size": Recipe(pix_fmt="yuv444p", size=(63, 47)),
    "vfr": Recipe(ticks=[t + cycle * 70000 for cycle in range(4) for t in VFR], gop=9),
    "vfr_mkv": Recipe(
        name="clip.mkv",
        time_base=Fraction(1, 1000),
        ticks=[0, 33, 67, 100, 500, 501, 503, 900, 2000, 2033, 2066, 2100, 5000, 5001, 5002, 7000],
        gop=5,
    ),
    "vp9": Recipe(
        codec="libvpx-vp9",
        name="clip.webm",
        time_base=Fraction(1, 1000),
        options=VPX_WITH_HIDDEN_FRAMES,
    ),
    "vp8": Recipe(
        codec="libvpx",
        name="clip.webm",
        time_base=Fraction(1, 1000),
        options=VPX_WITH_HIDDEN_FRAMES,
    ),
    "av1": Recipe(
        codec="libsvtav1",
        name="clip.mkv",
        size=(64, 64),
        time_base=Fraction(1, 1000),
        options={"preset": "12", "svtav1-params": "lp=1:pred-struct=1"},
        num_frames=40,
    ),
    "mpeg4_mp4": Recipe(codec="mpeg4", options={"bf": "2"}),
    "mpeg4_avi": Recipe(codec="mpeg4", name="clip.avi", time_base=Fraction(1, 25)),
    "mpeg4_avi_b_frames": Recipe(
        codec="mpeg4", name="clip.avi", time_base=Fraction(1, 25), options={"bf": "2"}
    ),
    "x264_avi_b_frames": Recipe(name="clip.avi", time_base=Fraction(1, 25), options={"bf": "2"}),
    "mpeg2_ts": Recipe(
        codec="mpeg2video", name="clip.ts", time_base=Fraction(1, 25), options={"bf": "2"}
    ),
    "x264_ts": Recipe(name="clip.ts", options={"bf": "2"}, time_base=Fraction(1, 25)),
    "mpeg2_mkv_open_gop": Recipe(
        codec="mpeg2video", name="clip.mkv", time_base=Fraction(1, 25), options={"bf": "2"}
    ),
    "mjpeg_mov": Recipe(codec="mjpeg", name="clip.mov", pix_fmt="yuvj420p"),
    "prores_mov": Recipe(codec="prores_ks", name="clip.mov", pix_fmt="yuv422p10le", num_frames=12),
    "flv": Recipe(name="clip.flv", time_base=Fraction(1, 1000)),
    "fragmented_mp4": Recipe(container_options={"movflags": "frag_keyframe+empty_moov"}),
    "long_gop_250": Recipe(
        num_frames=7500, gop=250, options={"preset": "ultrafast", "bf": "2", "sc_threshold": "0"}
    ),
    "one_frame": Recipe(num_frames=1),
}


def write_derived(folder: Path) -> dict[str, Path]:
    """Make videos from other videos."""
    plain = write_video(folder, Recipe(name="plain.mp4", options={"bf": "2"}))
    wide = write_video(folder, Recipe(name="open.mp4", options=RECIPES["open_gop"].options))
    return {
        "plain": plain,
        "non_zero_start": rewrite(plain, folder, "shifted.mkv", shift=123_456),
        "starts_inside_a_group": rewrite(plain, folder, "no-head.mkv", keep=lambda i, _: i >= 5),
        "starts_at_an_open_group": rewrite(
            wide, folder, "open-head.mkv", keep=lambda i, _: i >= 12
        ),
        "edit_list_inside_a_group": set_edit(plain, folder, "edited.mp4", 512 * 17),
        "edit_list_inside_an_open_group": set_edit(wide, folder, "edited-open.mp4", 512 * 17),
        "quarter_turn": rotate(plain, folder, "turned.mp4", (0, 1, -1, 0)),
        "mirrored": rotate(plain, folder, "mirrored.mp4", (-1, 0, 0, 1)),
        "packets_missing": rewrite(plain, folder, "gaps.mkv", keep=lambda i, _: i not in {14, 30}),
        "two_streams": write_two_streams(folder),
    }


def write_late_sound(folder: Path) -> Path:
    """Write a video with a sound stream at its end that its header does not announce."""
    path = write_video(folder, replace(RECIPES["flv"], name="late_sound.flv", num_frames=200))
    body = bytes([0x2E]) + bytes(100)  # mp3, in name
    tag = b"\x08" + len(body).to_bytes(3, "big") + bytes(7) + body
    with path.open("ab") as file:
        file.write(tag + len(tag).to_bytes(4, "big"))
    return path
