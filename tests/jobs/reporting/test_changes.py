"""The page reports what has changed, moved or disappeared since a run was scored."""

import logging
from pathlib import Path

import pytest

from fcos_core.errors import ConfigError
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.report import ReportConfig
from jobs.report import run as report
from tests.jobs.reporting.runs import (
    HEIGHT,
    WIDTH,
    found,
    quarantined,
    write_annotations,
    write_image,
    write_run,
)
from tests.jobs.reporting.scored import (
    amend_metrics,
    make_scored_run,
    page_of,
)


def test_moved_images_are_read_from_the_image_root(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)
    (tmp_path / "images").rename(tmp_path / "moved")

    without = page_of(run)
    page = page_of(run, image_root=str(tmp_path / "moved"))

    assert "examples" not in without.sections
    assert "give --image-root DIR" in without.text
    assert len([one for one in page.named("img") if "src" in one.attributes]) == 8


def test_an_image_that_has_changed_is_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run, _ = make_scored_run(tmp_path)
    write_image(tmp_path / "images/a.jpg", width=HEIGHT, height=WIDTH)

    with caplog.at_level(logging.WARNING):
        page = page_of(run)

    assert not [one for one in page.named("img") if one.attributes["alt"].startswith("a.jpg")]
    assert "its size has changed" in caplog.text


def test_annotations_that_the_run_was_not_scored_against_are_refused(tmp_path: Path):
    run, annotations = make_scored_run(tmp_path)
    other = tmp_path / "other.json"
    other.write_text(Path(annotations).read_text() + "\n")

    with pytest.raises(ConfigError, match="was scored against other annotations"):
        report(ReportConfig(run=run.uri, annotations=str(other)))


@pytest.mark.parametrize("fate", ["changed", "gone"])
def test_changed_or_missing_annotations_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fate: str
):
    run, annotations = make_scored_run(tmp_path)
    path = Path(annotations)
    path.write_text(path.read_text() + "\n") if fate == "changed" else path.unlink()

    with caplog.at_level(logging.WARNING):
        page = page_of(run)

    assert "without ground truth" in caplog.text
    assert page.sections >= {"headline", "classes", "examples"}
    assert "breakdowns" not in page.sections


def test_the_page_says_that_a_run_is_incomplete(tmp_path: Path):
    rows = [found(i, f"/d/{i}.jpg", [(1, 0.9, (10, 10, 40, 40))]) for i in range(6)]
    run = write_run(tmp_path / "RUN", rows, without=(1,))
    annotations = write_annotations(tmp_path / "a.json", rows, [(1, 1, (10, 10, 30, 30))])
    evaluate(EvaluateConfig(run=run.uri, annotations=annotations, allow_incomplete=True))

    text = page_of(run).text

    assert "Incomplete: 2 of 6 images missing" in text
    assert "Missing from the run: 2 images." in text
    assert "none: the run is not complete" in text


def test_rows_that_changed_since_they_were_scored_are_a_caveat(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)
    assert "the scored digest differs from the present one" not in page_of(run).text
    amend_metrics(run, digest="0" * 64)

    assert "the scored digest differs from the present one" in page_of(run).text


def test_frames_of_a_missing_video_are_counted_but_not_shown(tmp_path: Path):
    rows = [found(0, "/d/v.mp4", [(1, 0.9, (1, 1, 9, 9))], frame_index=0, timestamp_s=0.0)]
    run = write_run(tmp_path / "RUN", rows)

    page = page_of(run)

    assert "contents" in page.sections
    assert "examples" not in page.sections


def test_images_are_matched_in_a_run_with_videos(tmp_path: Path):
    path = tmp_path / "a.jpg"
    write_image(path)
    rows = [
        found(0, str(path), [(1, 0.9, (10, 10, 40, 40))]),
        found(1, "/d/v.mp4", [(1, 0.9, (1, 1, 9, 9))], frame_index=0, timestamp_s=0.0),
    ]
    run = write_run(tmp_path / "RUN", rows)
    annotations = write_annotations(tmp_path / "a.json", rows[:1], [(1, 1, (10, 10, 30, 30))])

    page = page_of(run, annotations=annotations)

    assert "frames of videos are not scored" not in page.text, "nothing was scored yet"
    assert "1 video with 1 frame" in page.text
    assert "a.jpg: F1 1.00: 1 of 1 object found, 0 false positives" in [
        one.attributes["alt"] for one in page.named("img")
    ]


def test_the_first_quarantined_images_are_listed_and_all_are_counted(tmp_path: Path):
    rows = [quarantined(i, f"/d/{i}.jpg", error_class="ImageError") for i in range(70)]
    rows += [quarantined(70, "/d/v", error_class="VideoError")]

    page = page_of(write_run(tmp_path / "RUN", rows, shard_size=30))

    assert "71 images (100.00" in page.text
    assert "The first 50 are listed." in page.text
    assert "/d/49.jpg" in page.text
    assert "/d/50.jpg" not in page.text
    assert "VideoError" in page.text
