"""Mutated videos: none ends a run, all are accounted for, however they are split."""

import random
from fractions import Fraction
from pathlib import Path

import pytest

from fcos_core.errors import VideoError
from jobs.media.video import (
    Frame,
    Lost,
    Sampling,
    Segment,
    VideoIndex,
    VideoSource,
    decode_segment,
    index_video,
    split,
)
from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import prove
from tests.fuzz.conftest import SEED
from tests.jobs.media.video.making import RECIPES, Recipe, write_video
from tests.jobs.worker.test_videos import compute, plan

SEEDS = {
    "b_frames": RECIPES["b_frames"],
    "open_gop": RECIPES["open_gop"],
    "open_gop_mkv": RECIPES["open_gop_mkv"],
    "x265_open_gop": RECIPES["x265_open_gop"],
    "fragmented_mp4": RECIPES["fragmented_mp4"],
    "vfr_mkv": RECIPES["vfr_mkv"],
    "vp9": RECIPES["vp9"],
}
OLD = {
    "mjpeg_mov": RECIPES["mjpeg_mov"],
    "mpeg4_avi": RECIPES["mpeg4_avi"],
    "mpeg4_avi_b_frames": RECIPES["mpeg4_avi_b_frames"],
    "x264_ts": RECIPES["x264_ts"],
    "flv": RECIPES["flv"],
    "mpeg2_mkv": RECIPES["mpeg2_mkv_open_gop"],
}
LARGEST_INDEX = 5000
"""A mutated header may claim a time base in which nothing is long; such files are not decoded."""


KINDS = ("flip", "flip", "flip", "cut", "zero", "splice")


def mutate(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Flip bits, cut, overwrite with zeros, or go on with another file."""
    changed = bytearray(data)
    kind = chance.choice(KINDS)
    place = chance.randrange(len(data))
    if kind == "flip":
        for _ in range(chance.choice((1, 1, 2, 10))):
            changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del changed[place:]
    elif kind == "zero":
        end = min(len(data), place + chance.choice((1, 10, 100, 1000)))
        changed[place:end] = bytes(end - place)
    else:
        other = chance.choice(others)
        changed[place:] = other[chance.randrange(len(other)) :]
    return bytes(changed)


def write_mutants(
    folder: Path,
    recipes: dict[str, Recipe],
    number: int,
    seed: int,
) -> list[Path]:
    source = folder / "seeds"
    sources: list[Path] = []
    for name, recipe in recipes.items():
        (source / name).mkdir(parents=True)
        sources.append(write_video(source / name, recipe))
    contents = [path.read_bytes() for path in sources]
    chance = random.Random(seed)  # noqa: S311
    target = folder / "mutants"
    target.mkdir()
    paths: list[Path] = []
    for i in range(number):
        chosen = chance.randrange(len(sources))
        paths.append(target / f"{i:04d}{sources[chosen].suffix}")
        paths[-1].write_bytes(mutate(contents[chosen], contents, chance))
    return paths


def story(path: Path, segments: list[Segment]) -> list[tuple[object, ...]]:
    """What comes out, frame by frame, and what is lost, without the decoder's words."""
    events = [event for one in segments for event in decode_segment(VideoSource(str(path)), one)]
    return [
        (event.index, event.pts, hash(event.pixels.tobytes()))
        if isinstance(event, Frame)
        else (event.first, event.last, event.pts, "lost")
        for event in events
    ]


def places(path: Path, segments: list[Segment]) -> list[int]:
    found: list[int] = []
    for segment in segments:
        for event in decode_segment(VideoSource(str(path)), segment):
            first, last = (
                (event.first, event.last) if isinstance(event, Lost) else (event.index, event.index)
            )
            found.extend(range(first, last + 1))
    return found


def indexed(path: Path) -> VideoIndex | None:
    try:
        index = index_video(VideoSource(str(path)))
    except VideoError:
        return None
    return index if index.num_frames <= LARGEST_INDEX else None


def count_differing(folder: Path, number: int, seed: int) -> int:
    """Count the mutants of which some split gives other losses or pixels than no split."""
    num_damaged = num_differing = 0
    for path in write_mutants(folder, SEEDS, number, seed):
        index = indexed(path)
        if index is None:
            continue
        whole = story(path, split(index, 1))
        num_damaged += any(one[-1] == "lost" for one in whole)
        num_differing += any(story(path, split(index, n)) != whole for n in (2, 3, 7))
    assert num_damaged > number / 6
    return num_differing


def check_accounted(folder: Path, number: int, seed: int) -> None:
    for path in write_mutants(folder, SEEDS | OLD, number, seed):
        index = indexed(path)
        if index is not None:
            for num_segments in (1, 3):
                assert places(path, split(index, num_segments)) == list(range(index.num_frames))


def test_of_forty_damaged_videos_none_depends_on_how_it_is_split(tmp_path: Path) -> None:
    assert count_differing(tmp_path, 40, seed=1) == 0


def test_every_frame_of_a_mutated_video_is_accounted_for(tmp_path: Path) -> None:
    check_accounted(tmp_path, 40, seed=2)


def test_a_run_over_mutated_videos_ends_complete(tmp_path: Path, tiny_weights: Path) -> None:
    paths = write_mutants(tmp_path, SEEDS | OLD, 20, seed=3)
    items = plan(paths[0].parent, sampling=Sampling(fps=Fraction(2)))
    proof = compute(tmp_path / "run", items, tiny_weights)
    assert proof.complete, proof.problems
    assert {item.uri for item in RunDirectory(str(tmp_path / "run")).read_manifest()} == {
        str(path) for path in paths
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_damage_depends_on_the_split_in_less_than_one_video_of_a_hundred(
    tmp_path: Path, seed: int
) -> None:
    # What a decoder notices can depend on what it saw before: 3 of 1,000 (docs/decisions/video.md).
    assert count_differing(tmp_path, 500, seed) < 5


@pytest.mark.slow
def test_every_frame_of_a_thousand_mutated_videos_is_accounted_for(tmp_path: Path) -> None:
    check_accounted(tmp_path, 1000, seed=20 + 100 * SEED)


@pytest.mark.slow
def test_a_run_over_a_thousand_mutated_videos_ends_complete(
    tmp_path: Path, tiny_weights: Path
) -> None:
    paths = write_mutants(tmp_path, SEEDS | OLD, 1000, seed=30 + 100 * SEED)
    items = plan(paths[0].parent, sampling=Sampling(fps=Fraction(1, 2)), shard_size=64)
    assert compute(tmp_path / "run", items, tiny_weights).complete
    assert prove(RunDirectory(str(tmp_path / "run"))).items_planned >= 1000
