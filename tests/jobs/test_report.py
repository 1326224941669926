"""The page says what the run's files say, leaves out what is not there, and lets nothing in."""

import hashlib
import json
import logging
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fcos_core.errors import ConfigError
from jobs.bpr import BprConfig
from jobs.bpr import run as bpr
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.report import ReportConfig
from jobs.report import run as report
from jobs.reporting.page import MAX_BYTES
from jobs.tables.run_directory import RunDirectory
from tests.jobs.reporting.pages import Document, parse
from tests.jobs.reporting.runs import (
    HEIGHT,
    WIDTH,
    found,
    refused,
    write_annotations,
    write_picture,
    write_run,
)

ALWAYS = {"contents", "provenance"}
SCORED = {"headline", "classes", "breakdowns", "panels"}
OPTIONAL: dict[str, dict[str, Any]] = {
    "errors": {"errors": {"shares": {"class": 0.03, "missed": 0.01}, "counts": {"class": 12}}},
    "calibration": {
        "calibration": {
            "bins": [{"low": 0, "high": 0.5, "count": 3, "mean_score": 0.3, "precision": 0.25}],
            "ece": 0.05,
        }
    },
    "confusions": {"confusions": [{"true": 1, "predicted": "dog", "count": 4}]},
    "thresholds": {"thresholds": {"score": 0.25, "precision": 0.9, "recall": 0.8, "f1": 0.85}},
    "ladder": {
        "ladder": {
            "steps": [
                {"name": "ground_truth", "boxes": 4, "lost": 0, "lost_by_area": {"small": 0}},
                {"name": "assignable", "boxes": 3, "lost": 1, "lost_by_area": {"small": 1}},
            ],
            "assignable_by_found": {
                "assignable": {"found": 3, "not_found": 0},
                "not_assignable": {"found": 1, "not_found": 0},
            },
        }
    },
}


def make_scored_run(folder: Path) -> tuple[RunDirectory, str]:
    """Four pictures, of which one is perfect, one has a false positive and one misses an object."""
    uris = [str(folder / f"pictures/{name}.jpg") for name in "abcd"]
    for i, uri in enumerate(uris[:3]):
        write_picture(Path(uri), seed=i)
    rows = [
        found(0, uris[0], [(1, 0.9, (10, 10, 40, 40)), (3, 0.8, (50, 10, 90, 60))]),
        found(1, uris[1], [(1, 0.9, (10, 10, 40, 40)), (3, 0.7, (60, 40, 70, 50))]),
        found(2, uris[2], [(3, 0.2, (0, 0, 5, 5))]),
        refused(3, uris[3]),
    ]
    run = write_run(folder / "RUN", rows)
    boxes = [(1, 1, (10, 10, 30, 30)), (1, 3, (50, 10, 40, 50)), (2, 1, (10, 10, 30, 30))]
    boxes += [(3, 3, (20, 20, 50, 30))]
    annotations = write_annotations(folder / "instances.json", rows, boxes)
    evaluate(EvaluateConfig(run=run.uri, annotations=annotations))
    _leave_out_what_is_optional(run)
    return run, annotations


def _leave_out_what_is_optional(run: RunDirectory) -> None:
    path = Path(run.evaluation_uri("metrics.json"))
    metrics = json.loads(path.read_text())
    for part in ("intervals", "bootstrap", *(key for one in OPTIONAL.values() for key in one)):
        metrics.pop(part, None)
    path.write_text(json.dumps(metrics))
    Path(run.evaluation_uri("curves.parquet")).unlink(missing_ok=True)


def page_of(run: RunDirectory, **settings: Any) -> Document:
    result = report(ReportConfig(run=run.uri, **settings))
    page = Path(result.report).read_text()
    assert result.num_bytes == len(page.encode())
    return parse(page)


def amend_metrics(run: RunDirectory, **parts: Any) -> None:
    path = Path(run.evaluation_uri("metrics.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


def test_the_numbers_are_those_of_metrics_json(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)
    metrics = json.loads(Path(run.evaluation_uri("metrics.json")).read_text())
    assert 0 < metrics["AP"] < 1

    page = page_of(run)

    shown = [float(one.attributes["value"]) for one in page.named("data")]
    assert shown == [metrics[name] for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")] + [
        metrics[name] for name in ("AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
    ]
    assert page.named("data")[0].text == f"{metrics['AP']:.3f}"
    assert "1 picture could not be used" in page.text
    assert metrics["digest"] in page.text
    assert "5" * 64 in page.text, "the sha256 of the weights"


def test_the_page_and_its_size_are_the_last_line_of_the_command(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)
    out = tmp_path / "elsewhere" / "page.html"

    result = report(ReportConfig(run=run.uri, out=str(out)))

    assert result.summary() == {"run": run.uri, "report": str(out), "bytes": out.stat().st_size}
    assert not (tmp_path / "RUN/report").exists()


def test_a_scored_run_shows_pictures_of_four_kinds_with_what_is_on_them(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)

    page = page_of(run)

    assert page.sections == ALWAYS | SCORED | {"quarantine", "absent"}
    pictures = [one.attributes for one in page.named("img") if "src" in one.attributes]
    assert all(one["src"].startswith("data:image/jpeg;base64,") for one in pictures)
    told = [one["alt"] for one in pictures]
    assert told == [
        "a.jpg: F1 1.00: 2 of 2 found, 0 wrong",
        "b.jpg: F1 0.67: 1 of 1 found, 1 wrong",
        "c.jpg: F1 0.00: 0 of 1 found, 0 wrong",
        "c.jpg: F1 0.00: 0 of 1 found, 0 wrong",
        "b.jpg: F1 0.67: 1 of 1 found, 1 wrong",
        "b.jpg: dog 0.70 finds no annotated dog",
        "c.jpg: dog 0.20 finds no annotated dog",
        "c.jpg: dog missed, 50 by 30 px",
    ]


def test_a_run_that_nobody_scored_still_has_a_page(tmp_path: Path):
    path = tmp_path / "a.jpg"
    write_picture(path)
    run = write_run(tmp_path / "RUN", [found(0, str(path), [(1, 0.9, (10, 10, 40, 40))])])

    page = page_of(run)

    assert page.sections == ALWAYS | {"panels", "absent"}
    assert "fcos evaluate RUN --annotations FILE" in page.text
    assert [one.attributes["alt"] for one in page.named("img") if "src" in one.attributes] == [
        "a.jpg: 1 detection",
        "a.jpg: 1 detection",
    ]


def test_annotations_alone_choose_pictures_of_a_run_that_nobody_scored(tmp_path: Path):
    path = tmp_path / "a.jpg"
    write_picture(path)
    rows = [found(0, str(path), [(1, 0.9, (10, 10, 40, 40))])]
    run = write_run(tmp_path / "RUN", rows)
    annotations = write_annotations(tmp_path / "a.json", rows, [(1, 1, (10, 10, 30, 30))])

    page = page_of(run, annotations=annotations)

    assert page.sections == ALWAYS | {"panels", "breakdowns", "absent"}


def test_an_empty_picture_list_has_a_page(tmp_path: Path):
    run = write_run(tmp_path / "RUN", [refused(0, "/d/a.jpg")])

    page = page_of(run)

    assert page.sections == {"quarantine", "provenance", "absent"}


@pytest.mark.parametrize("section", [*OPTIONAL, "recall", "curves", "throughput"])
def test_a_section_is_there_exactly_when_its_data_is(tmp_path: Path, section: str):
    run, annotations = make_scored_run(tmp_path)
    assert section not in page_of(run).sections

    if section == "recall":
        bpr(BprConfig(run=run.uri, annotations=annotations, num_actors=1))
    elif section == "curves":
        write_curves(run)
    elif section == "throughput":
        write_events(run)
    else:
        amend_metrics(run, **OPTIONAL[section])

    assert section in page_of(run).sections


def write_curves(run: RunDirectory) -> None:
    recall = [i / 100 for i in range(101)]
    rows = [
        {"category_id": category_id, "iou": iou, "recall": recall, "precision": recall[::-1]}
        for category_id in (None, 1, 3)
        for iou in (0.5, 0.75, None)
    ]
    pq.write_table(pa.Table.from_pylist(rows), run.evaluation_uri("curves.parquet"))


def write_events(run: RunDirectory) -> None:
    shard = {"event": "shard", "num_ok": 3, "num_quarantined": 1, "seconds": 2.0, "device": "cpu"}
    events = [
        {"time": "2025-01-01T00:00:00+00:00", "event": "begin"},
        {"time": "2025-01-01T00:00:04+00:00", "created": True, **shard},
        {"time": "2025-01-01T00:00:05+00:00", "event": "end", "error": None},
    ]
    path = Path(run.event_uri("x.jsonl"))
    path.parent.mkdir()
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def test_intervals_stand_beside_the_numbers(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)
    amend_metrics(
        run,
        intervals={"AP": [0.2345, 0.6789]},
        bootstrap={"resamples": 1000, "seed": 0, "level": 0.95},
    )

    text = page_of(run).text

    assert "0.234 to 0.679" in text or "0.235 to 0.679" in text
    assert "bootstrap intervals over pictures" in text


def test_a_part_of_the_metrics_that_cannot_be_understood_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run, _ = make_scored_run(tmp_path)
    amend_metrics(run, thresholds={"score": "high"}, calibration=OPTIONAL["calibration"])

    with caplog.at_level(logging.WARNING):
        page = page_of(run)

    assert not page.sections & {"thresholds", "calibration"}
    assert "thresholds is left out of the report" in caplog.text


def test_all_that_evaluate_and_bpr_write_is_understood(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run, annotations = make_scored_run(tmp_path)
    evaluate(EvaluateConfig(run=run.uri, annotations=annotations))
    bpr(BprConfig(run=run.uri, annotations=annotations, num_actors=1))

    with caplog.at_level(logging.WARNING):
        page = page_of(run)

    assert "left out of the report" not in caplog.text
    assert page.sections >= SCORED | {"recall"}


def test_nothing_in_names_or_messages_becomes_markup(tmp_path: Path):
    hostile = "<img src=x onerror=alert(1)>"
    quoting = "'\" onmouseover=alert(1) x="
    path = tmp_path / 'a"b<c>.jpg'
    write_picture(path)
    categories = {1: hostile, 3: f"</style></script><script>{quoting}"}
    rows = [
        found(0, str(path), [(1, 0.9, (10, 10, 40, 40)), (3, 0.8, (50, 10, 90, 60))]),
        refused(1, f"/d/{hostile}.jpg", error=f"{quoting} {hostile}", error_class=hostile),
    ]
    run = write_run(tmp_path / f"{hostile.replace('/', '')}", rows, categories=categories)
    annotations = write_annotations(
        tmp_path / "'\"<em>.json", rows, [(1, 3, (10, 10, 30, 30))], categories=categories
    )
    evaluate(EvaluateConfig(run=run.uri, annotations=annotations))
    write_curves(run)
    amend_metrics(run, confusions=[{"true": hostile, "predicted": quoting, "count": 1}])

    page = page_of(run)

    assert page.text.count(hostile) >= 4
    assert 'a"b<c>.jpg' in page.text
    assert len(page.named("script")) == len(page.named("style")) == 1
    assert not page.named("em")
    sources = [one.attributes.get("src", "data:") for one in page.named("img")]
    assert all(source.startswith("data:") for source in sources)
    attributes = {name for element in page.elements for name in element.attributes}
    assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert attributes <= KNOWN_ATTRIBUTES


KNOWN_ATTRIBUTES = {
    "alt", "aria-hidden", "aria-label", "aria-labelledby", "aria-sort", "charset", "class",
    "content", "d", "data-lines", "data-tip", "data-value", "fill", "height", "hidden", "href",
    "http-equiv", "id", "lang", "method", "name", "preserveaspectratio", "rel", "role", "rx",
    "scope", "src", "tabindex", "text-anchor", "transform", "type", "value", "viewbox",
    "visibility", "width", "x", "x1", "x2", "y", "y1", "y2",
}  # fmt: skip


def test_the_page_loads_and_runs_nothing_but_itself(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)
    data = Path(report(ReportConfig(run=run.uri)).report).read_text()
    page = parse(data)

    assert "http" not in data.replace("http-equiv", "")
    assert "//" not in "".join(one.attributes.get("href", "") for one in page.elements)
    policy = next(
        one.attributes["content"] for one in page.named("meta") if "http-equiv" in one.attributes
    )
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    for name in ("style", "script"):
        digest = hashlib.sha256(page.named(name)[0].text.encode()).digest()
        assert f"{name}-src 'sha256-{b64encode(digest).decode()}'" in policy


def test_a_hundred_thousand_pictures_give_a_small_page_soon(tmp_path: Path):
    random = np.random.default_rng(5)
    folder = tmp_path / "pictures"
    for i in range(40):
        write_picture(folder / f"{i}.jpg", width=640, height=480, seed=i)
    uris = [str(folder / f"{i % 40}.jpg") for i in range(100_000)]
    box = random.uniform(0, 300, (100_000, 2)).astype(np.float32)
    score = random.random(100_000, np.float32)
    rows = [
        found(i, uri, [(1, score[i], (*box[i], *(box[i] + 90)))], width=640, height=480)
        for i, uri in enumerate(uris)
    ]
    run = write_run(tmp_path / "RUN", rows, shard_size=10_000)

    result = report(ReportConfig(run=run.uri))

    assert 100_000 < result.num_bytes <= MAX_BYTES


def test_pictures_are_left_out_before_the_page_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, _ = make_scored_run(tmp_path)
    whole = report(ReportConfig(run=run.uri)).num_bytes
    monkeypatch.setattr("jobs.report.MAX_BYTES", whole - 1)

    page = page_of(run)

    assert "1 picture left out to keep this file small" in page.text
    assert Path(run.uri, "report/index.html").stat().st_size < whole


def test_pictures_are_found_below_another_folder(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)
    (tmp_path / "pictures").rename(tmp_path / "moved")

    without = page_of(run)
    page = page_of(run, image_root=str(tmp_path / "moved"))

    assert "panels" not in without.sections
    assert "give --image-root DIR" in without.text
    assert len([one for one in page.named("img") if "src" in one.attributes]) == 8


def test_a_picture_that_has_changed_is_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    run, _ = make_scored_run(tmp_path)
    write_picture(tmp_path / "pictures/a.jpg", width=HEIGHT, height=WIDTH)

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
def test_annotations_that_have_changed_or_gone_are_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fate: str
):
    run, annotations = make_scored_run(tmp_path)
    path = Path(annotations)
    path.write_text(path.read_text() + "\n") if fate == "changed" else path.unlink()

    with caplog.at_level(logging.WARNING):
        page = page_of(run)

    assert "without ground truth" in caplog.text
    assert page.sections >= {"headline", "classes", "panels"}
    assert "breakdowns" not in page.sections


def test_an_incomplete_run_says_so_before_its_numbers(tmp_path: Path):
    rows = [found(i, f"/d/{i}.jpg", [(1, 0.9, (10, 10, 40, 40))]) for i in range(6)]
    run = write_run(tmp_path / "RUN", rows, without=(1,))
    annotations = write_annotations(tmp_path / "a.json", rows, [(1, 1, (10, 10, 30, 30))])
    evaluate(EvaluateConfig(run=run.uri, annotations=annotations, allow_incomplete=True))

    text = page_of(run).text

    assert "Incomplete: 2 of 6 pictures missing" in text
    assert "Missing from the run: 2 pictures." in text
    assert "none: the run is not complete" in text


def test_rows_that_changed_since_they_were_scored_are_told(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)
    assert "their digest is not that of the run" not in page_of(run).text
    amend_metrics(run, digest="0" * 64)

    assert "their digest is not that of the run" in page_of(run).text


def test_frames_of_videos_are_counted_but_not_shown(tmp_path: Path):
    rows = [found(0, "/d/v.mp4", [(1, 0.9, (1, 1, 9, 9))], frame_index=0, timestamp_s=0.0)]
    run = write_run(tmp_path / "RUN", rows)

    page = page_of(run)

    assert "contents" in page.sections
    assert "panels" not in page.sections


def test_pictures_are_judged_beside_videos(tmp_path: Path):
    path = tmp_path / "a.jpg"
    write_picture(path)
    rows = [
        found(0, str(path), [(1, 0.9, (10, 10, 40, 40))]),
        found(1, "/d/v.mp4", [(1, 0.9, (1, 1, 9, 9))], frame_index=0, timestamp_s=0.0),
    ]
    run = write_run(tmp_path / "RUN", rows)
    annotations = write_annotations(tmp_path / "a.json", rows[:1], [(1, 1, (10, 10, 30, 30))])

    page = page_of(run, annotations=annotations)

    assert "1 video frame counted in this report, but not shown" in page.text
    assert "a.jpg: F1 1.00: 1 of 1 found, 0 wrong" in [
        one.attributes["alt"] for one in page.named("img")
    ]


def test_the_first_quarantined_pictures_are_listed_and_all_are_counted(tmp_path: Path):
    rows = [refused(i, f"/d/{i}.jpg", error_class="ImageError") for i in range(70)]
    rows += [refused(70, "/d/v", error_class="VideoError")]

    page = page_of(write_run(tmp_path / "RUN", rows, shard_size=30))

    assert "71 pictures (100.00" in page.text
    assert "The first 50 are listed." in page.text
    assert "/d/49.jpg" in page.text
    assert "/d/50.jpg" not in page.text
    assert "VideoError" in page.text


def test_what_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="is no run directory"):
        report(ReportConfig(run=str(tmp_path)))
