"""Decoding videos: ours beside PyAV, OpenCV and torchcodec, frame for frame in one go.

``python benchmarks/bench_video.py`` generates videos, lets the decoders take turns (A B C A B C
...) with one thread each, and compares their pixels with PyAV's. Then it measures decoding ahead of
a model, the index of an hour, ``fcos detect`` with one actor and with two on one long file, and its
memory on 4K. Writes ``results/<date>_<hardware>_video.md``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import resource
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from detect.contestants import FCOS as COMMAND
from detect.contestants import HERE, environment
from machine import page_name
from process_tree import Measured, measure
from video.decoders import Decode, contestants, pyav_exact
from video.files import CLIPS, Clip, make, repeat
from video.report import Actors, Ahead, Memory, Page, Rates, Unlike, make_page

from fcos_core import FCOS, Category, save_checkpoint
from fcos_core.config import BackboneConfig, HeadConfig, InputConfig, improved
from jobs.inputs.sources import enumerate_inputs
from jobs.inputs.video_index import VideoRequest, plan_videos
from jobs.media.video import Segment, VideoSource, decode_segment, index_video, split
from jobs.planning.manifest import make_manifest
from jobs.worker.prefetch import Prefetcher

REAL = ("cockatoo.mp4", "flipping_a_pancake.mkv")
MIB = 2**20
COMPARED_FRAMES = 12
HOUR = Clip(
    name="hour.mp4", codec="libx264", width=320, height=180, num_frames=1000, gop=250
)  # 90 times
LONG = Clip(name="long.mp4", codec="libx264", width=1280, height=720, num_frames=250, gop=250)
LONG_TIMES, LARGE_TIMES, HOUR_TIMES = 12, 8, 90


def take_turns(paths: Iterable[Path], rounds: int) -> list[Rates]:
    """Let every decoder decode every file, over and over."""
    found: list[Rates] = []
    for path in paths:
        decoders = contestants(path)
        turns: dict[str, list[tuple[int, float, float]]] = {name: [] for name in decoders}
        for _ in range(rounds):
            for name, decode in decoders.items():
                turns[name].append(_turn(decode))
        for name, taken in turns.items():
            assert len({frames for frames, _, _ in taken}) == 1
            found.append(
                Rates(
                    file=path.stem,
                    decoder=name,
                    num_frames=taken[0][0],
                    wall_s=median(wall_s for _, wall_s, _ in taken),
                    cpu_s=median(cpu_s for _, _, cpu_s in taken),
                )
            )
        _say(f"{path.stem}: {rounds} rounds")
    return found


def _turn(decode: Decode) -> tuple[int, float, float]:
    began, cpu_s = time.perf_counter(), _cpu_s()
    num_frames = 0
    for pixels in decode():
        assert pixels.shape[2] == 3  # noqa: PLR2004 -- RGB
        num_frames += 1
    return num_frames, time.perf_counter() - began, _cpu_s() - cpu_s


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def compare(paths: Iterable[Path]) -> list[Unlike]:
    """Hold every decoder's first frames against PyAV's exact planes."""
    found: list[Unlike] = []
    for path in paths:
        for name, decode in contestants(path).items():
            worst: int | None = None
            num_equal = 0
            pairs = zip(decode(), pyav_exact(path, "gbrp"), strict=False)
            for pixels, expected in itertools.islice(pairs, COMPARED_FRAMES):
                is_same_shape = pixels.shape == expected.shape  # some do turn frames, some do not
                worst = max(
                    worst or 0, int(cv2.absdiff(pixels, expected).max()) if is_same_shape else 255
                )
                num_equal += is_same_shape and np.array_equal(pixels, expected)
            found.append(Unlike(file=path.stem, decoder=name, num_equal=num_equal, worst=worst))
    return found


def ahead(path: Path) -> Ahead:
    """Use frames as slowly as they are decoded: waiting for a GPU takes no core."""
    listing = enumerate_inputs([str(path)])
    items = make_manifest(listing, 256, plan_videos([str(path)], VideoRequest(), address=None))

    def load(seconds: float) -> tuple[int, float]:
        prefetcher = Prefetcher(
            lambda _: b"",
            bytes_in_flight=512 * MIB,
            max_pixels=10**9,
            fetch_threads=1,
            decode_threads=1,
        )
        began, num_frames = time.perf_counter(), 0
        for loaded in prefetcher.prefetch(items):
            assert loaded.pixels is not None
            num_frames += 1
            time.sleep(seconds)
        took = time.perf_counter() - began
        prefetcher.close()
        return num_frames, took

    num_frames, decode_s = load(0)
    _, both_s = load(decode_s / num_frames)
    return Ahead(num_frames=num_frames, decode_s=decode_s, both_s=both_s)


def index_hour(folder: Path) -> tuple[int, float, float]:
    """Index an hour of video.

    Returns:
        Frames, seconds and CPU seconds.
    """
    path = folder / "an-hour.mp4"
    num_frames = repeat(make(folder, HOUR), path, HOUR_TIMES)
    began, cpu_s = time.perf_counter(), _cpu_s()
    index = index_video(VideoSource(str(path)))
    took, cpu_s = time.perf_counter() - began, _cpu_s() - cpu_s
    assert index.num_frames == num_frames
    assert len(index.entries) == num_frames // HOUR.gop
    return num_frames, took, cpu_s


def decode_apart(path: Path, num_processes: int) -> float:
    """Decode a file by so many processes, each its part: seconds, their start not included."""
    parts = split(index_video(VideoSource(str(path))), num_processes)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        list(pool.map(time.sleep, [0.5] * num_processes))
        began = time.perf_counter()
        list(pool.map(_count, itertools.repeat(str(path)), parts))
        return time.perf_counter() - began


def _count(path: str, segment: Segment) -> int:
    return sum(1 for _ in decode_segment(VideoSource(path), segment))


def save_tiny(folder: Path) -> Path:
    """A model that costs next to nothing, so that decoding is the work."""
    config = replace(
        improved(num_classes=1, backbone="resnet18"),
        input=InputConfig(min_size_px=64, max_size_px=128),
        backbone=BackboneConfig(name="resnet18", width=0.125, norm="batch", fpn_channels=32),
        head=HeadConfig(num_convs=1, num_groups=8),
    )
    path = folder / "tiny.safetensors"
    save_checkpoint(path, FCOS(config, [Category(id=1, name="thing")]))
    return path


def detect(
    path: Path, weights: Path, folder: Path, *, actors: int, mib: int
) -> tuple[Measured, float, int]:
    """Run the command.

    Returns:
        What it took, the seconds from its first frame to its last row, and the rows.
    """
    out = folder / f"run-{path.stem}-{actors}-{mib}-{time.monotonic_ns()}"
    config = folder / "settings.json"
    config.write_text(json.dumps({"bytes_in_flight": mib * MIB}), encoding="ascii")
    command = [str(COMMAND), "detect", str(path), "--weights", str(weights), "--out", str(out)]
    command += ["--num-actors", str(actors), "--threads-per-actor", "1", "--config", str(config)]
    took = measure(command, environment(), out.with_suffix(".log"))
    said = json.loads(took.stdout.splitlines()[-1])
    (events,) = (out / "events").iterdir()
    shards = [
        (datetime.fromisoformat(line["time"]).timestamp(), line["seconds"])
        for line in map(json.loads, events.read_text(encoding="utf-8").splitlines())
        if line["event"] == "shard"
    ]
    span_s = max(end for end, _ in shards) - min(end - seconds for end, seconds in shards)
    return took, span_s, said["ok"]


def two_actors(folder: Path, weights: Path, rounds: int) -> Actors | None:
    """One long file: decoded by one process and by two, detected with one actor and with two."""
    if not rounds:
        return None
    path = folder / "long-file.mp4"
    num_frames = repeat(make(folder, LONG), path, LONG_TIMES)
    alone: dict[int, list[float]] = {1: [], 2: []}
    spans: dict[int, list[float]] = {1: [], 2: []}
    cpu: dict[int, list[float]] = {1: [], 2: []}
    for _, num in itertools.product(range(rounds), (1, 2)):
        alone[num].append(decode_apart(path, num))
        took, span_s, num_ok = detect(path, weights, folder, actors=num, mib=512)
        assert num_ok == num_frames
        spans[num].append(span_s)
        cpu[num].append(took.cpu_s or 0.0)
        _say(f"{num} at work: decode {alone[num][-1]:.1f} s, detect {span_s:.1f} s")
    return Actors(
        num_frames=num_frames,
        decode_s=(median(alone[1]), median(alone[2])),
        detect_s=(median(spans[1]), median(spans[2])),
        cpu_s=(median(cpu[1]), median(cpu[2])),
    )


def memory(folder: Path, large: Path, weights: Path) -> list[Memory]:
    """What the actor and the driver hold with a 4K video, and with one small image."""
    image = folder / "small.png"
    cv2.imwrite(str(image), np.zeros((64, 64, 3), np.uint8))
    long = folder / "large-file.mp4"
    repeat(large, long, LARGE_TIMES)
    found: list[Memory] = []
    for path, mib in ((image, 512), (long, 512), (long, 128)):
        took, _, num_rows = detect(path, weights, folder, actors=1, mib=mib)
        assert took.other_mib is not None
        assert took.first_mib is not None
        found.append(
            Memory(
                name="an image of 64 x 64" if path == image else f"{num_rows} frames of 4K",
                budget_mib=mib,
                actor_mib=took.other_mib,
                driver_mib=took.first_mib,
            )
        )
        _say(f"{found[-1]}")
    return found


def main() -> None:
    """Measure and write the page."""
    options = _options()
    cv2.setNumThreads(1)
    load, _, _ = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="bench-video-") as name:
        folder = Path(name)
        clips = [make(folder, clip) for clip in CLIPS]
        real = [options.videos / one for one in REAL if (options.videos / one).is_file()]
        _say("videos are made")
        weights = save_tiny(folder)
        page = Page(
            command=shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
            rounds=options.rounds,
            load=load,
            rates=take_turns([*clips, *real], options.rounds),
            unlike=compare([*clips, *real]),
            ahead=ahead(clips[0]),
            hour=index_hour(folder),
            memory=memory(folder, clips[1], weights),
            actors=two_actors(folder, weights, options.detect_rounds),
        )
    text = make_page(page)
    (options.results / page_name("video")).write_text(text, encoding="utf-8")
    print(text)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--detect-rounds", type=int, default=2, help="0 leaves them out")
    parser.add_argument(
        "--videos", type=Path, default=HERE.parents[1] / "shared" / "data" / "video"
    )
    parser.add_argument("--results", type=Path, default=HERE / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
