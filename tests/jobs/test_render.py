"""``fcos render RUN``: what is drawn of a run, where it goes, and what becomes of the rest."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fcos_core.errors import ConfigError
from jobs.cli.commands import main
from jobs.media.drawing.palette import class_color
from jobs.media.video import Sampling
from jobs.render import RenderConfig, run
from jobs.rundir.rows import Row
from jobs.rundir.shard_writing import commit_shard, encode_shard
from tests.jobs.media.mp4.clips import seen, write_clip
from tests.jobs.rendering.runs import RUN_ID, RunOfATest

CAT, DOG = (1, 0.9, (40, 40, 200, 160)), (3, 0.6, (200, 100, 380, 280))


def write_image(path: Path, width: int = 400, height: int = 300) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
    return path


def render(directory, out: Path, **settings):
    return run(RenderConfig(run=directory.uri, out=str(out), **{"num_actors": 1, **settings}))


def looked_at(path: Path) -> object:
    """What must be the same again: bytes, or of a video, whose encoder varies, what is seen."""
    return seen(path) if path.suffix == ".mp4" else path.read_bytes()


def has_color(path: Path, category_id: int) -> bool:
    """Whether much of an image is nearly of a class's colour."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB).astype(int)
    distance = np.abs(pixels - np.array(class_color(category_id))).max(axis=2)
    return int((distance < 30).sum()) > 100


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def mixed(tmp_path: Path) -> RunOfATest:
    """Two images of one name, a quarantined one, and two videos."""
    folder = tmp_path / "in"
    run = RunOfATest()
    run.image(write_image(folder / "a" / "x.png"), (400, 300), [CAT, DOG])
    run.image(write_image(folder / "b" / "x.png"), (400, 300), [CAT])
    run.quarantined(write_image(folder / "bad.png"))
    clip = write_clip(folder / "clip.mp4", size=(320, 240), sound="aac")
    run.video(clip, [(1, 0.9, (40, 40, 200, 160))], num_segments=3)
    other = write_clip(folder / "b" / "clip.mkv", size=(160, 121), pix_fmt="yuv444p")
    run.video(other, [(3, 0.9, (4, 4, 100, 90))], sampling=Sampling(every_n_frames=5))
    return run


def test_images_and_videos_are_drawn_where_their_sources_lie(mixed: RunOfATest, tmp_path: Path):
    directory, out = mixed.write(tmp_path / "RUN"), tmp_path / "out"

    result = render(directory, out)

    assert files(out) == ["a/x.jpg", "b/clip.mp4", "b/x.jpg", "clip.mp4", "contact-sheet.jpg"]
    summary = result.summary()
    assert {name: summary[name] for name in ("images", "videos", "frames", "quarantined")} == {
        "images": 2,
        "videos": 2,
        "frames": 60,
        "quarantined": 1,
    }
    assert (summary["missing"], summary["changed"], result.failure) == (0, 0, None)
    assert has_color(out / "a/x.jpg", 1)
    assert has_color(out / "a/x.jpg", 3)
    assert not has_color(out / "b/x.jpg", 3)
    assert seen(out / "b/clip.mp4").size == (160, 122)
    assert seen(out / "clip.mp4").sound == seen(tmp_path / "in" / "clip.mp4").sound


def test_only_chosen_scores_and_classes_are_drawn(mixed: RunOfATest, tmp_path: Path):
    directory = mixed.write(tmp_path / "RUN")

    render(directory, tmp_path / "high", min_score=0.7, limit=1)
    render(directory, tmp_path / "dogs", classes=("DOG, 44",), limit=1)
    render(directory, tmp_path / "cats", classes=("1",), limit=1)

    assert files(tmp_path / "high") == ["a/x.jpg", "contact-sheet.jpg"]
    assert not has_color(tmp_path / "high/a/x.jpg", 3)
    assert has_color(tmp_path / "dogs/a/x.jpg", 3)
    assert not has_color(tmp_path / "dogs/a/x.jpg", 1)
    assert has_color(tmp_path / "cats/a/x.jpg", 1)


def test_what_lies_beyond_the_limit_is_counted(mixed: RunOfATest, tmp_path: Path):
    result = render(mixed.write(tmp_path / "RUN"), tmp_path / "out", limit=2)

    assert result.summary()["left_out"] == 3
    assert result.summary()["images"] == 2


def test_detections_are_held_between_frames_or_left_out(tmp_path: Path):
    clip = write_clip(tmp_path / "clip.mp4", size=(320, 240))
    mixed = RunOfATest()
    mixed.video(clip, [(1, 0.9, (40, 40, 200, 160))], sampling=Sampling(every_n_frames=5))
    directory = mixed.write(tmp_path / "RUN")

    for between in ("hold", "none"):
        render(directory, tmp_path / between, between=between)

    held, bare = (frames(tmp_path / between / "clip.mp4") for between in ("hold", "none"))
    assert [is_drawn(frame) for frame in held] == [True] * 30
    assert [is_drawn(frame) for frame in bare] == [i % 5 == 0 for i in range(30)]


def frames(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    found = []
    while True:
        is_there, frame = capture.read()
        if not is_there:
            return found
        found.append(frame[:, :, ::-1])


def is_drawn(frame: np.ndarray) -> bool:
    """Whether the left side of the box is there."""
    distance = np.abs(frame[60:150, 38:44].astype(int) - np.array(class_color(1))).max(axis=2)
    return bool(distance.min() < 60)


def test_what_is_missing_or_changed_is_named_and_counted(
    mixed: RunOfATest, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    directory, folder = mixed.write(tmp_path / "RUN"), tmp_path / "in"
    (folder / "a" / "x.png").unlink()
    write_image(folder / "b" / "x.png", 300, 400)
    write_clip(folder / "clip.mp4", size=(320, 240), times=range(0, 400, 40))
    (folder / "b" / "clip.mkv").unlink()

    result = render(directory, tmp_path / "out")

    summary = result.summary()
    assert (summary["missing"], summary["changed"], summary["quarantined"]) == (2, 2, 1)
    assert (summary["images"], summary["videos"], summary["contact_sheet"]) == (0, 0, None)
    assert result.failure == (
        "none of 5 images and videos could be drawn: 2 missing, 2 changed, 1 quarantined"
    )
    for name in ("a/x.png", "b/x.png", "in/clip.mp4", "b/clip.mkv"):
        assert sum(name in record.getMessage() for record in caplog.records) == 1
    assert files(tmp_path / "out") == []


@pytest.mark.parametrize("name", ["x.png", "clip.mp4"])
def test_a_file_that_a_retry_recovered_is_drawn_whatever_its_size_was(tmp_path: Path, name: str):
    source = tmp_path / "in" / name
    recovered = RunOfATest()
    if source.suffix == ".png":
        recovered.image(write_image(source), (400, 300), [CAT])
    else:
        source.parent.mkdir()
        recovered.video(write_clip(source), [(1, 0.9, (4, 4, 40, 40))], num_segments=1)
    (item,), good = recovered.items, recovered.rows
    recovered.items = [replace(item, size_bytes=53)]  # the manifest has the damaged file's
    recovered.rows = [
        Row.quarantined(
            item_id=0,
            image_id=item.image_id,
            uri=item.uri,
            error_class="ImageError",
            error=f"{source}: truncated",
            frame_index=item.first_frame,
            last_frame=item.last_frame,
        )
    ]
    directory = recovered.write(tmp_path / "RUN")
    assert render(directory, tmp_path / "out").summary()["quarantined"] == 1

    retried = encode_shard(good, run_id=RUN_ID, shard=0)
    assert commit_shard(directory, 0, retried, attempt=1)
    summary = render(directory, tmp_path / "out").summary()

    assert (summary["images"] + summary["videos"], summary["changed"]) == (1, 0)


def test_sources_are_found_below_another_folder(mixed: RunOfATest, tmp_path: Path):
    directory = mixed.write(tmp_path / "RUN")
    (tmp_path / "in").rename(tmp_path / "moved")

    result = render(directory, tmp_path / "out", image_root=str(tmp_path / "moved"))

    assert result.summary()["missing"] == 0
    assert len(files(tmp_path / "out")) == 5


def test_rows_that_are_not_there_yet_are_counted(mixed: RunOfATest, tmp_path: Path):
    directory = mixed.write(tmp_path / "RUN", shard_size=1, without=[0, 3, 4, 5])

    summary = render(directory, tmp_path / "out").summary()

    assert (summary["not_detected"], summary["images"], summary["videos"]) == (2, 1, 1)


def test_a_source_is_never_replaced(mixed: RunOfATest, tmp_path: Path):
    mixed.image(write_image(tmp_path / "in" / "c.jpg"), (400, 300))
    directory = mixed.write(tmp_path / "RUN")
    before = {name: (tmp_path / "in" / name).read_bytes() for name in files(tmp_path / "in")}

    with pytest.raises(ConfigError, match="would replace"):
        render(directory, tmp_path / "in")

    assert {name: (tmp_path / "in" / name).read_bytes() for name in before} == before
    assert files(tmp_path / "in") == sorted(before)


def test_the_same_drawing_comes_out_again_and_in_place(mixed: RunOfATest, tmp_path: Path):
    directory, out = mixed.write(tmp_path / "RUN"), tmp_path / "out"
    render(directory, out)
    first = {name: looked_at(out / name) for name in files(out)}

    render(directory, out)

    assert {name: looked_at(out / name) for name in files(out)} == first


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_workers_of_a_cluster_draw_the_same(mixed: RunOfATest, tmp_path: Path):
    long = write_clip(tmp_path / "in" / "long.mp4", times=range(0, 26000, 40), gop=50)
    mixed.video(long, [(1, 0.9, (10, 10, 50, 40))], num_segments=4)
    directory = mixed.write(tmp_path / "RUN")

    one = render(directory, tmp_path / "one", num_actors=1).summary()
    many = render(directory, tmp_path / "many", num_actors=2).summary()

    names = files(tmp_path / "one")
    assert names == files(tmp_path / "many")
    assert "long.mp4" in names
    assert many["frames"] == one["frames"] == 710
    for name in names:
        assert looked_at(tmp_path / "one" / name) == looked_at(tmp_path / "many" / name)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["RUN", "--classes", "cta"], "--classes 'cta': the run has no such class; the nearest is"),
        (["RUN", "--min-score", "1.5"], "--min-score"),
        (["RUN", "--between", "keep"], "--between"),
        (["RUN", "--limit", "0"], "--limit"),
        (["nothing"], "no run directory"),
        (["RUN", "--targets", "a.json"], "not both"),
        ([], "give RUN, or --targets FILE"),
    ],
)
def test_what_cannot_work_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
):
    monkeypatch.chdir(tmp_path)
    run = RunOfATest()
    run.image(write_image(tmp_path / "a.png"), (400, 300))
    run.write(tmp_path / "RUN")

    code = main(["render", *arguments, "--out", "out"])

    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert not Path("out").exists()


def test_the_last_line_is_one_object(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    run = RunOfATest()
    run.image(write_image(tmp_path / "a.png"), (400, 300), [CAT])
    directory = run.write(tmp_path / "RUN")

    code = main(["render", directory.uri, "--out", str(tmp_path / "out")])

    said = json.loads(capfd.readouterr().out)
    assert code == 0
    assert said["images"] == 1
    assert said["contact_sheet"] == str(tmp_path / "out" / "contact-sheet.jpg")
