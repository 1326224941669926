"""The page stays small, runs only its own script and loads nothing, whatever names contain."""

import hashlib
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest

from fcos_core.errors import ConfigError
from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from jobs.report import MAX_BYTES, ReportConfig
from jobs.report import run as report
from tests.jobs.html.pages import parse
from tests.jobs.reporting.runs import (
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
    write_curves,
)


def test_names_and_messages_never_become_markup(tmp_path: Path):
    hostile = "<img src=x onerror=alert(1)>"
    quoting = "'\" onmouseover=alert(1) x="
    path = tmp_path / 'a"b<c>.jpg'
    write_image(path)
    categories = {1: hostile, 3: f"</style></script><script>{quoting}"}
    rows = [
        found(0, str(path), [(1, 0.9, (10, 10, 40, 40)), (3, 0.8, (50, 10, 90, 60))]),
        quarantined(1, f"/d/{hostile}.jpg", error=f"{quoting} {hostile}", error_class=hostile),
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


def test_the_page_runs_only_its_own_script_and_loads_nothing(tmp_path: Path):
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


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_thousand_images_give_a_small_page(tmp_path: Path, count: int):
    random = np.random.default_rng(5)
    folder = tmp_path / "images"
    for i in range(40):
        write_image(folder / f"{i}.jpg", width=640, height=480, seed=i)
    uris = [str(folder / f"{i % 40}.jpg") for i in range(count)]
    box = random.uniform(0, 300, (count, 2)).astype(np.float32)
    score = random.random(count, np.float32)
    rows = [
        found(i, uri, [(1, score[i], (*box[i], *(box[i] + 90)))], width=640, height=480)
        for i, uri in enumerate(uris)
    ]
    run = write_run(tmp_path / "RUN", rows, shard_size=count // 10)

    result = report(ReportConfig(run=run.uri))

    assert 100_000 < result.num_bytes <= MAX_BYTES


def test_example_images_are_left_out_of_a_page_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, _ = make_scored_run(tmp_path)
    whole = report(ReportConfig(run=run.uri)).num_bytes
    monkeypatch.setattr("jobs.report.MAX_BYTES", whole - 1)

    page = page_of(run)

    assert "1 image left out to keep this file small" in page.text
    assert Path(run.uri, "report/index.html").stat().st_size < whole


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="is no run directory"):
        report(ReportConfig(run=str(tmp_path)))
