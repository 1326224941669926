"""The page shows what the run's files hold, and leaves out sections without data."""

import json
import logging
from pathlib import Path

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
from tests.jobs.reporting.runs import (
    found,
    quarantined,
    write_annotations,
    write_image,
    write_run,
)
from tests.jobs.reporting.scored import (
    OPTIONAL,
    amend_metrics,
    make_scored_run,
    page_of,
    write_curves,
    write_events,
)

ALWAYS = {"contents", "provenance"}

SCORED = {"headline", "classes", "breakdowns", "examples"}


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
    assert "1 image could not be used" in page.text
    assert metrics["digest"] in page.text
    assert "5" * 64 in page.text, "the sha256 of the weights"


def test_the_summary_line_has_the_page_and_its_size(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)
    out = tmp_path / "elsewhere" / "page.html"

    result = report(ReportConfig(run=run.uri, out=str(out)))

    assert result.summary() == {"run": run.uri, "report": str(out), "bytes": out.stat().st_size}
    assert not (tmp_path / "RUN/report").exists()


def test_a_scored_run_shows_four_sets_of_examples_with_their_descriptions(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)

    page = page_of(run)

    assert page.sections == ALWAYS | SCORED | {"quarantine", "absent"}
    images = [one.attributes for one in page.named("img") if "src" in one.attributes]
    assert all(one["src"].startswith("data:image/jpeg;base64,") for one in images)
    shown = [one["alt"] for one in images]
    assert shown == [
        "a.jpg: F1 1.00: 2 of 2 objects found, 0 false positives",
        "b.jpg: F1 0.67: 1 of 1 object found, 1 false positive",
        "c.jpg: F1 0.00: 0 of 1 object found, 0 false positives",
        "c.jpg: F1 0.00: 0 of 1 object found, 0 false positives",
        "b.jpg: F1 0.67: 1 of 1 object found, 1 false positive",
        "b.jpg: dog 0.70 matches no annotated dog",
        "c.jpg: dog 0.20 matches no annotated dog",
        "c.jpg: missed dog, 50 x 30 px",
    ]


def test_a_run_without_scores_has_a_page(tmp_path: Path):
    path = tmp_path / "a.jpg"
    write_image(path)
    run = write_run(tmp_path / "RUN", [found(0, str(path), [(1, 0.9, (10, 10, 40, 40))])])

    page = page_of(run)

    assert page.sections == ALWAYS | {"examples", "absent"}
    assert "fcos evaluate RUN --annotations FILE" in page.text
    assert [one.attributes["alt"] for one in page.named("img") if "src" in one.attributes] == [
        "a.jpg: 1 detection",
        "a.jpg: 1 detection",
    ]


def test_annotations_select_the_examples_of_a_run_without_scores(tmp_path: Path):
    path = tmp_path / "a.jpg"
    write_image(path)
    rows = [found(0, str(path), [(1, 0.9, (10, 10, 40, 40))])]
    run = write_run(tmp_path / "RUN", rows)
    annotations = write_annotations(tmp_path / "a.json", rows, [(1, 1, (10, 10, 30, 30))])

    page = page_of(run, annotations=annotations)

    assert page.sections == ALWAYS | {"examples", "breakdowns", "absent"}


def test_a_run_without_usable_images_has_a_page(tmp_path: Path):
    run = write_run(tmp_path / "RUN", [quarantined(0, "/d/a.jpg")])

    page = page_of(run)

    assert page.sections == {"quarantine", "provenance", "absent"}


@pytest.mark.parametrize("section", [*OPTIONAL, "recall", "curves", "throughput"])
def test_a_section_exists_exactly_if_its_data_exists(tmp_path: Path, section: str):
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


def test_intervals_stand_beside_the_numbers(tmp_path: Path):
    run, _ = make_scored_run(tmp_path)
    amend_metrics(
        run,
        intervals={"AP": [0.2345, 0.6789]},
        bootstrap={"resamples": 1000, "seed": 0, "level": 0.95},
    )

    text = page_of(run).text

    assert "0.234 to 0.679" in text or "0.235 to 0.679" in text
    assert "bootstrap intervals over images" in text


def test_a_part_of_the_metrics_that_cannot_be_read_is_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run, _ = make_scored_run(tmp_path)
    amend_metrics(run, thresholds={"score": "high"}, calibration=OPTIONAL["calibration"])

    with caplog.at_level(logging.WARNING):
        page = page_of(run)

    assert not page.sections & {"thresholds", "calibration"}
    assert "thresholds is left out of the report" in caplog.text


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("precision", [[0.5, None]], "the curve of category 1 at IoU 0.5 has no such points"),
        ("precision", [[0.5]], "the curve of category 1 at IoU 0.5 has no such points"),
        ("precision", [None], "Casting field 'precision' with null values to non-nullable"),
        ("unknown", [1], "it has no column precision"),
    ],
)
def test_curves_that_are_none_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, column: str, value: object, reason: str
):
    run, _ = make_scored_run(tmp_path)
    curves = {"category_id": [1], "iou": [0.5], "recall": [[0.0, 1.0]]} | {column: value}
    pq.write_table(pa.table(curves), run.evaluation_uri("curves.parquet"))

    with caplog.at_level(logging.WARNING):
        page = page_of(run)

    assert "curves" not in page.sections
    assert f"curves.parquet is left out of the report: {reason}" in caplog.text


def test_every_part_that_evaluate_and_bpr_write_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run, annotations = make_scored_run(tmp_path)
    evaluate(EvaluateConfig(run=run.uri, annotations=annotations))
    bpr(BprConfig(run=run.uri, annotations=annotations, num_actors=1))

    with caplog.at_level(logging.WARNING):
        page = page_of(run)

    assert "left out of the report" not in caplog.text
    assert page.sections >= SCORED | {"recall"}


def test_a_damaged_file_is_refused_before_the_run_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, _ = make_scored_run(tmp_path)
    path = Path(run.bpr_uri("bpr.json"))
    path.parent.mkdir()
    path.write_text("{")
    monkeypatch.setattr("jobs.report.scan", lambda *_: pytest.fail("the run was read"))

    with pytest.raises(ConfigError, match=r"bpr.json' is damaged"):
        report(ReportConfig(run=run.uri))
