"""The report in a real Chromium: loads nothing, says nothing on the console, sorts and hovers."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from jobs.report import ReportConfig
from jobs.report import run as report
from tests.jobs.html.pages import parse
from tests.jobs.reporting.scored import (
    OPTIONAL,
    amend_metrics,
    make_scored_run,
    write_curves,
    write_events,
)

WIDE, NARROW = (1280, 900), (390, 844)
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run that has everything, with a class of a hostile name."""
    run, _ = make_scored_run(tmp_path_factory.mktemp("browser"))
    for parts in OPTIONAL.values():
        amend_metrics(run, **parts)
    metrics = json.loads(Path(run.evaluation_uri("metrics.json")).read_text())
    metrics["per_category"][0]["name"] = HOSTILE
    amend_metrics(run, per_category=metrics["per_category"])
    write_curves(run)
    write_events(run)
    return Path(report(ReportConfig(run=run.uri)).report)


@pytest.fixture(params=["light", "dark"])
def opened(browser: Any, page_path: Path, request: pytest.FixtureRequest) -> Generator[Any]:
    """The page, whose console must stay silent and whose only request is for itself."""
    context = browser.new_context(
        viewport={"width": WIDE[0], "height": WIDE[1]}, color_scheme=request.param
    )
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_path.as_uri())
    yield page
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page_path.as_uri()]


def test_the_average_precision_of_metrics_json_is_shown(opened: Any, page_path: Path):
    metrics = json.loads((page_path.parents[1] / "evaluation/metrics.json").read_text())

    shown = opened.locator(".hero-value data")

    assert shown.is_visible()
    assert float(shown.get_attribute("value")) == metrics["AP"]
    assert shown.inner_text() == f"{metrics['AP']:.3f}"
    assert opened.get_by_text(HOSTILE, exact=True).first.is_visible()


def test_a_heading_sorts_by_pointer_and_by_key(opened: Any):
    table = opened.locator("#classes table")
    heading = table.locator("th", has_text="objects")

    def column() -> list[int]:
        return [int(text) for text in table.locator("tbody td:nth-child(6)").all_inner_texts()]

    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert column() == sorted(column(), reverse=True)

    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column() == sorted(column())

    table.locator("th button", has_text="class").click()
    assert heading.get_attribute("aria-sort") == "none"
    assert table.locator("th[aria-sort=ascending]").count() == 1


def test_a_curve_says_its_values_by_pointer_and_by_key(opened: Any):
    chart = opened.locator("#curves .chart").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()

    opened.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)

    tip = opened.locator("#tip")
    lines = tip.inner_text().splitlines()
    recall = float(lines[0].removeprefix("recall "))
    assert 0.3 < recall < 0.6
    assert lines[2] == f"IoU 0.50: {1 - recall:.3g}"
    assert chart.locator(".cursor").get_attribute("visibility") == "visible"

    opened.mouse.move(5, 5)
    assert tip.is_hidden()

    opened.keyboard.press("Tab")
    chart.focus()
    opened.keyboard.press("ArrowRight")
    moved = float(tip.inner_text().splitlines()[0].removeprefix("recall "))
    assert moved == pytest.approx(recall + 0.02)


def test_an_image_enlarges_and_closes_again_by_key(opened: Any):
    opened.locator(".enlarge").first.press("Enter")
    viewer = opened.locator("#viewer")
    assert viewer.is_visible()
    assert "F1" in viewer.locator("p").inner_text()

    opened.keyboard.press("Escape")
    assert viewer.is_hidden()


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_sticks_out_at_the_side(opened: Any, size: tuple[int, int], tmp_path: Path):
    opened.set_viewport_size({"width": size[0], "height": size[1]})

    image = tmp_path / "page.png"
    opened.screenshot(path=image, full_page=True)

    assert opened.evaluate("document.documentElement.scrollWidth") == size[0]
    assert int.from_bytes(image.read_bytes()[16:20], "big") == size[0]
    smallest = opened.evaluate(
        "Math.min(...[...document.querySelectorAll('.chart text')]"
        ".map((text) => text.getBoundingClientRect()).filter((box) => box.height)"
        ".map((box) => Math.min(box.height, Math.max(box.width, box.height))))"
    )
    assert smallest > 8, "texts in charts stay legible"
    tallest = opened.evaluate(
        "Math.max(...[...document.querySelectorAll('tbody tr')]"
        ".map((row) => row.getBoundingClientRect().height))"
    )
    # Long paths of a test folder wrap to eight lines; a letter per line is three times as tall.
    assert tallest < 250, "no column is squeezed to a letter per line"


def test_every_section_is_there(page_path: Path):
    sections = parse(page_path.read_text()).sections

    assert sections >= {*OPTIONAL, "headline", "classes", "curves", "examples", "throughput"}
