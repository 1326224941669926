"""Drawing a file that kills the process which decodes it: it fails, the others are drawn."""

from pathlib import Path

import pytest

from jobs.render import RenderConfig, run
from jobs.rendering.run import RenderResult
from tests.commands import ROOT, fcos
from tests.jobs.media.mp4.clips import seen, write_clip
from tests.jobs.media.video.planted_crashes import plant
from tests.jobs.rendering.runs import RunOfATest

BOX = (1, 0.9, (4, 4, 30, 30))
CRASH = "os.kill(os.getpid(), 11)"
LONG = range(0, 26_000, 40)  # 650 frames: three parts


def run_of(folder: Path, *names: str, **settings: object) -> RunOfATest:
    drawn = RunOfATest()
    for name in names:
        clip = write_clip(folder / "in" / name, **settings)
        drawn.video(clip, [BOX], num_segments=3)
    return drawn


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_video_that_kills_its_process_is_counted_and_named_and_the_others_are_drawn(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    directory = run_of(tmp_path, "a.mp4", "killer.mp4", "z.mp4").write(tmp_path / "RUN")
    monkeypatch.syspath_prepend(plant(tmp_path, mark="killer", code=CRASH, from_pts=600))

    result = run(RenderConfig(run=directory.uri, out=str(tmp_path / "out"), num_actors=1))

    assert isinstance(result, RenderResult)
    summary = result.summary()
    assert (summary["videos"], summary["frames"], summary["failed"]) == (2, 60, 1)
    assert result.failure is None
    assert files(tmp_path / "out") == {"a.mp4", "z.mp4", "contact-sheet.jpg"}
    (said,) = [record.getMessage() for record in caplog.records if "killer" in record.getMessage()]
    assert said.startswith("failed: ")
    assert said.endswith("killer.mp4: the process that works on it dies: killed by SIGSEGV")


@pytest.mark.ray
@pytest.mark.slow
def test_a_part_that_kills_the_tasks_of_a_cluster_costs_its_video_only(tmp_path: Path) -> None:
    drawn = run_of(tmp_path, "a.mp4", "killer.mp4", "z.mp4", times=LONG, gop=50)
    drawn.write(tmp_path / "RUN")
    site = plant(tmp_path, mark="killer", code=CRASH, from_pts=20_000)
    done = fcos(
        *("render", tmp_path / "RUN", "--out", tmp_path / "out", "--num-actors", 2),
        environment={"PYTHONPATH": f"{site}:{ROOT}"},
        timeout_s=1200,
    )
    summary = done.result()
    assert (summary["videos"], summary["frames"], summary["failed"]) == (2, 1300, 1)
    assert "killer.mp4: the process that works on it dies" in done.stderr
    assert files(tmp_path / "out") == {"a.mp4", "z.mp4", "contact-sheet.jpg"}
    assert len(seen(tmp_path / "out" / "z.mp4").times) == 650
