"""An encoding page in a real Chromium: nothing on the console, no sideways scrolling, it sorts."""

from pathlib import Path
from typing import Any

import pytest

from jobs import synthetic
from jobs.render import RenderConfig, run


@pytest.fixture(scope="module")
def page_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoding")
    annotations = synthetic.generate(folder / "data", num_images=1, seed=203)
    pages = folder / "pages"
    run(RenderConfig(targets=str(annotations), out=str(pages), rule="improved"))
    (path,) = pages.iterdir()
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_an_encoding_page_fits_the_screen_sorts_and_enlarges(
    browser: Any, page_path: Path, scheme: str, width: int
):
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_path.as_uri())

    assert page.evaluate("document.documentElement.scrollWidth") == width
    images = page.locator("main img")
    assert images.count() == 1 + 3 * 5
    assert images.evaluate_all("all => all.every(one => one.complete && one.naturalWidth > 0)")
    page.locator("#boxes th button", has_text="width").click()
    widths = [int(text) for text in page.locator("#boxes tbody td:nth-child(3)").all_inner_texts()]
    assert len(widths) == 6
    assert widths == sorted(widths, reverse=True)
    page.locator("#class-map .enlarge").first.press("Enter")
    assert page.locator("#viewer").is_visible()
    assert "P3" in page.locator("#viewer p").inner_text()
    context.close()
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [page_path.as_uri()]
