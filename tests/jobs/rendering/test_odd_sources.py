"""Sources that are damaged, odd or far away: each is drawn, or it is said why not."""

from pathlib import Path

import pytest

from jobs.render import RenderConfig, run
from jobs.rendering.run import RenderResult
from jobs.settings.detect import DetectConfig
from jobs.storage.s3.storage import S3Storage
from tests.fuzz.finished import finish
from tests.jobs.media.mp4.clips import seen, write_clip
from tests.jobs.media.video.making import write_audio
from tests.jobs.rendering.runs import RunOfATest

CUT = (
    "flipping_a_pancake.mkv",
    "nasa_13013.mp4",
    "testsrc2_vp9.webm",
    "v_SoccerJuggling_g23_c01.avi",
)


def rendered(directory: str, out: str) -> RenderResult:
    result = run(RenderConfig(run=directory, out=out, num_actors=1, min_score=0))
    assert isinstance(result, RenderResult)
    return result


def detected(folder: Path, weights: Path) -> str:
    """A real run over a folder, at two frames per second."""
    config = DetectConfig(
        inputs=(str(folder),),
        out=str(folder.parent / "RUN"),
        weights=str(weights),
        fps=2.0,
        batch_size=2,
        threads_per_actor=1,
    )
    finish(config)
    return config.out


@pytest.mark.slow
@pytest.mark.usefixtures("_kept_threads")
def test_damaged_cut_and_empty_videos_are_drawn_as_far_as_they_go_or_said(
    tmp_path: Path, shared_data: Path, tiny_weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    videos = shared_data / "video"
    for name in ("corrupted.mp4", "mp4-with-audio.mp4"):
        (folder / name).write_bytes((videos / name).read_bytes())
    for name in CUT:
        data = (videos / name).read_bytes()
        (folder / f"cut-{name}").write_bytes(data[: len(data) * 2 // 3])
    write_audio(folder)
    (folder / "empty.webm").write_bytes(b"")
    num_sources = len(list(folder.iterdir()))

    summary = rendered(detected(folder, tiny_weights), str(tmp_path / "out")).summary()

    drawn = {path.stem for path in (tmp_path / "out").glob("*.mp4")}
    assert {"cut-flipping_a_pancake", "cut-testsrc2_vp9", "cut-v_SoccerJuggling_g23_c01"} <= drawn
    assert summary["videos"] == len(drawn)
    assert summary["videos"] + summary["quarantined"] == num_sources
    assert (
        sum(len(seen(tmp_path / "out" / f"{name}.mp4").times) for name in drawn)
        == (summary["frames"])
    )
    said = "\n".join(record.getMessage() for record in caplog.records)
    for name in ("mp4-with-audio.mp4", "sound.mp4", "empty.webm", "cut-nasa_13013.mp4"):
        assert f"quarantined: {folder / name}: " in said


def test_videos_of_one_name_in_two_folders_are_drawn_into_two_on_s3_as_on_disk(
    s3: str, tmp_path: Path
) -> None:
    drawn = RunOfATest()
    for i, folder in enumerate(("a", "b")):
        clip = write_clip(tmp_path / "in" / folder / "clip.mp4", times=range(0, 400 + 400 * i, 40))
        drawn.video(clip, [(1, 0.9, (4, 4, 30, 30))])
    directory = drawn.write(tmp_path / "RUN").uri

    local = rendered(directory, str(tmp_path / "out")).summary()
    on_s3 = rendered(directory, f"{s3}/out").summary()

    assert (on_s3["videos"], on_s3["frames"]) == (local["videos"], local["frames"]) == (2, 30)
    assert on_s3["contact_sheet"] == f"{s3}/out/contact-sheet.jpg"
    for name in ("a/clip.mp4", "b/clip.mp4"):
        fetched = tmp_path / name.replace("/", "-")
        fetched.write_bytes(S3Storage().read(f"{s3}/out/{name}"))
        assert seen(fetched) == seen(tmp_path / "out" / name)
    assert len(seen(tmp_path / "b-clip.mp4").times) == 20
