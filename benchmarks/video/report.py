"""The page of results that ``bench_video.py`` writes."""

# pyright: reportMissingImports=false, reportPrivateImportUsage=false
# pyright: reportUnknownVariableType=false
# torchcodec is installed by make bench only

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path

import av
from machine import circumstances


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How fast a decoder was with a file; medians of all rounds."""

    file: str
    decoder: str
    num_frames: int
    wall_s: float
    cpu_s: float


@dataclass(frozen=True, kw_only=True)
class Unlike:
    """How a decoder's pixels differ from PyAV's exact ones; ``worst`` is None without frames."""

    file: str
    decoder: str
    num_equal: int
    worst: int | None


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """Frames decoded with no consumer to wait for, and with a model as slow as the decoder."""

    num_frames: int
    decode_s: float
    both_s: float


@dataclass(frozen=True, kw_only=True)
class Actors:
    """One long file, by one and by two; CPU of the whole command."""

    num_frames: int
    decode_s: tuple[float, float]
    detect_s: tuple[float, float]
    cpu_s: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The most that an actor and the driver had resident."""

    name: str
    budget_mib: int
    actor_mib: float
    driver_mib: float


@dataclass(frozen=True, kw_only=True)
class Page:
    """Everything that was measured; of the hour: frames, seconds, CPU seconds."""

    command: str
    rounds: int
    load: float
    rates: Sequence[Rates]
    unlike: Sequence[Unlike]
    ahead: Ahead
    hour: tuple[int, float, float]
    actors: Actors | None
    memory: Sequence[Memory]


def make_page(page: Page) -> str:
    """Write it in Markdown."""
    bundled = ".".join(map(str, av.library_versions["libavcodec"]))
    about = [
        ("FFmpeg", f"PyAV's own libavcodec {bundled}; torchcodec: {_torchcodec()}"),
        ("machine", f"load average {page.load:.1f} before the start (0 is a machine at rest)"),
        ("order", f"all decoders in turn, {page.rounds} times; medians"),
    ]
    head = circumstances(page.command, ["av", "opencv-python-headless", "torch", "ray"], about)
    frames, index_s, index_cpu_s = page.hour
    ahead = page.ahead
    return f"""# Decoding videos

{head}

## Frames per second, one thread each

*CPU*: milliseconds of core time per frame, user and system; *frames/s*: by the clock, which other
programs on the machine slow down. Ratios are to ours with one segment: above 1 ours is faster.
Every decoder gives RGB arrays, and opening the file is included. *Ours* has its index, as a worker
has; the index is made here where it says so, and decodes 16 frames of the file to be sure of it.
*PyAV, our flags*: `to_ndarray(format="rgb24")` with the swscale flags that ours uses. *PyAV*:
without any, as it is usually written. *All threads*: their number left to FFmpeg.

{_rates(page.rates)}

## Whose pixels?

Of each file's first 12 frames, how many equal PyAV's conversion to planes with the exact flags bit
for bit, and the largest difference of a channel. Planes have chroma interpolated both ways, RGB
with the same flags one way, and without them not at all: hence large differences where colours
change from one pixel to the next. `cockatoo` has all of its chroma.

{_pixels(page.unlike)}

## Ahead of the model

{ahead.num_frames} frames of 1080p through a worker's loader, one decoding thread:
{ahead.decode_s:.1f} s without a slow consumer. With a model that takes as long as decoding (it
sleeps, as one waits for a GPU) {ahead.both_s:.1f} s: {ahead.both_s / ahead.decode_s:.2f} times
the longer of the two; their sum would be 2.

## Index

An hour of H.264, 320 x 180, a key frame every 250 frames: {frames} frames in {index_s:.2f} s,
{index_cpu_s:.2f} s of CPU.

{_actors(page.actors)}## Memory

One actor, the same tiny model; the most a process ever had resident, shared libraries included.

| input | `bytes_in_flight` | actor | more than for the image | driver |
|---|---|---|---|---|
{_memory(page.memory)}
"""


def _rates(rates: Sequence[Rates]) -> str:
    parts: list[str] = []
    for file, members in groupby(rates, key=lambda one: one.file):
        found = list(members)
        ours = found[0]
        rows = "\n".join(
            f"| {one.decoder} | {1e3 * one.cpu_s / one.num_frames:.2f} | "
            f"{one.cpu_s / ours.cpu_s:.2f} | {one.num_frames / one.wall_s:.1f} | "
            f"{one.wall_s / ours.wall_s:.2f} |"
            for one in found
            if one.num_frames
        )
        rows += "".join(
            f"\n| {one.decoder} | gives no frame | | | |" for one in found if not one.num_frames
        )
        parts.append(
            f"### {file}, {ours.num_frames} frames\n\n"
            "| | CPU ms/frame | ratio | frames/s | ratio by the clock |\n|---|---|---|---|---|\n"
            f"{rows}"
        )
    return "\n\n".join(parts)


def _pixels(unlike: Sequence[Unlike]) -> str:
    names = list(dict.fromkeys(one.decoder for one in unlike))
    rows = [
        f"| {file} | "
        + " | ".join(_difference(one) for one in sorted(members, key=_place(names)))
        + " |"
        for file, members in groupby(unlike, key=lambda one: one.file)
    ]
    return f"| equal, worst | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}\n" + "\n".join(
        rows
    )


def _difference(one: Unlike) -> str:
    return "no frame" if one.worst is None else f"{one.num_equal}, {one.worst}"


def _place(names: Sequence[str]):
    return lambda one: names.index(one.decoder)


def _actors(actors: Actors | None) -> str:
    if actors is None:
        return ""
    return f"""## One long file, two actors

{actors.num_frames} frames of H.264, 1280 x 720, with a tiny model: decoding is the work. One
thread per actor.

| | one | two | times as fast |
|---|---|---|---|
| decoding alone, processes | {_three(actors.decode_s)} |
| `fcos detect`, actors: first frame to last row | {_three(actors.detect_s)} |

CPU of the whole command: {actors.cpu_s[0]:.0f} s with one actor, {actors.cpu_s[1]:.0f} s with
two. All processes, the driver and Ray's included, share the cores above.

"""


def _three(seconds: tuple[float, float]) -> str:
    one, two = seconds
    return f"{one:.1f} s | {two:.1f} s | {one / two:.2f}"


def _memory(found: Sequence[Memory]) -> str:
    least = found[0].actor_mib
    return "\n".join(
        f"| {one.name} | {one.budget_mib} MiB | {one.actor_mib:.0f} MiB | "
        f"{one.actor_mib - least:.0f} MiB | {one.driver_mib:.0f} MiB |"
        for one in found
    )


def _torchcodec() -> str:
    """Say which FFmpeg it found, or why it cannot run."""
    try:
        from torchcodec.decoders import VideoDecoder
    except (ImportError, RuntimeError) as error:
        return f"not measured ({str(error).splitlines()[0]})"
    del VideoDecoder
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    found = {Path(line.split()[-1]).name for line in maps.splitlines() if "libavcodec.so" in line}
    try:
        number = version("torchcodec")
    except PackageNotFoundError:
        number = "of unknown version"
    return f"{number} with the machine's {', '.join(sorted(found)) or 'FFmpeg'}"
