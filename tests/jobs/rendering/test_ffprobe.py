"""Drawn videos as ffprobe sees them: as many frames, as long, turned alike as their sources."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.render import RenderConfig, run
from jobs.rendering.run import RenderResult
from tests.jobs.media.mp4.clips import QUARTER_TURN, write_clip
from tests.jobs.media.video.making import RECIPES, write_derived, write_video
from tests.jobs.rendering.runs import RunOfATest

LONG = "long_gop_250"
BOX = (1, 0.9, (4.0, 4.0, 30.0, 30.0))


@pytest.fixture(scope="module", autouse=True)
def _ffprobe() -> None:
    if shutil.which("ffprobe") is None:
        pytest.skip("ffprobe is not installed: apt-get install ffmpeg")


@dataclass(frozen=True)
class Probed:
    """What ffprobe says of the image."""

    num_frames: int
    duration_s: float
    rotation: int
    size: tuple[int, int]


def probe(path: Path, stream: str = "v:0") -> Probed:
    done = subprocess.run(
        [
            *("ffprobe", "-v", "error", "-select_streams", stream, "-count_frames"),
            *("-show_streams", "-show_packets", "-of", "json", str(path)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    (video,) = said["streams"]
    turns = [data["rotation"] for data in video.get("side_data_list", []) if "rotation" in data]
    return Probed(
        num_frames=int(video["nb_read_frames"]),
        duration_s=max(float(video.get("duration", 0)), shown_s(said["packets"])),
        rotation=turns[0] if turns else 0,
        size=(video["width"], video["height"]),
    )


def shown_s(packets: list[dict[str, Any]]) -> float:
    """From when the first image is shown until the last one is over.

    Matroska and FLV say how long the file is, sound and time before it included; mp4 leaves out
    of a stream's length how far its last images are put off by B-frames.
    """
    shown = [packet for packet in packets if "pts_time" in packet and "D" not in packet["flags"]]
    if not shown:
        return 0.0  # as in AVI
    starts = [float(packet["pts_time"]) for packet in shown]
    lengths = [float(packet.get("duration_time", 0)) for packet in shown]
    return max(map(sum, zip(starts, lengths, strict=True))) - min(starts)


def assert_probed_alike(folder: Path, paths: list[Path], *, best: dict[str, str]) -> None:
    drawn = RunOfATest()
    for path in paths:
        drawn.video(path, [BOX])
    out = folder / "out"
    result = run(RenderConfig(run=drawn.write(folder / "RUN").uri, out=str(out), num_actors=1))
    assert isinstance(result, RenderResult)
    assert result.summary()["videos"] == len(paths)
    wrong: dict[str, tuple[Probed, Probed]] = {}
    for path in paths:
        target = next(out.rglob(f"{path.stem}.mp4"))
        before, after = probe(path, best.get(path.name, "v:0")), probe(target)
        even = tuple(side + side % 2 for side in before.size)
        if not (
            after.num_frames == before.num_frames
            and after.rotation == before.rotation
            and after.size == even
            and after.duration_s == pytest.approx(before.duration_s, abs=0.05)
        ):
            wrong[path.name] = before, after
    assert not wrong, "\n".join(f"{name}: {one}\n{two}" for name, (one, two) in wrong.items())


def test_a_turned_an_uneven_and_a_late_video_are_probed_alike(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    uneven = (0, 10, 30, 31, 90, 400, 401, 402, 1000, 1001, 1500, 1501, 3000)
    assert_probed_alike(
        tmp_path,
        [
            write_clip(folder / "turned.mp4", matrix=QUARTER_TURN, sound="aac"),
            write_clip(folder / "uneven.mp4", times=uneven, options={"bf": "0"}),
            write_clip(folder / "odd.mkv", size=(63, 47), pix_fmt="yuv444p"),
        ],
        best={},
    )


@pytest.mark.slow
def test_real_videos_are_probed_alike(tmp_path: Path, shared_data: Path) -> None:
    sources = sorted((shared_data / "video").iterdir())
    damaged = {"corrupted.mp4", "mp4-with-audio.mp4"}
    # Its larger image is the second one.
    assert_probed_alike(
        tmp_path,
        [path for path in sources if path.name not in damaged],
        best={"nasa_13013.mp4": "v:1"},
    )


@pytest.mark.slow
def test_videos_of_every_awkward_kind_are_probed_alike(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    paths: list[Path] = []
    for name in RECIPES.keys() - {LONG}:
        (folder / name).mkdir(parents=True)
        made = write_video(folder / name, RECIPES[name])
        paths.append(made.rename(folder / f"{name}{made.suffix}"))
    (folder / "derived").mkdir()
    derived = write_derived(folder / "derived")
    # Of frames that lack what they refer to ffprobe counts some, and we none.
    paths += [derived[name] for name in derived if name not in {"plain", "packets_missing"}]
    assert_probed_alike(tmp_path, paths, best={})
