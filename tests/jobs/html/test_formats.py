"""Texts and numbers as they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.html import formats
from jobs.html.page import Page, render
from jobs.html.svg import element


@given(st.text(max_size=400), st.integers(5, 80))
def test_foreign_text_becomes_one_short_visible_line(text: str, longest: int):
    written = formats.text(text, longest)

    assert len(written) <= longest
    assert all(letter.isprintable() for letter in written)
    written.encode()


def test_the_ends_of_a_path_are_kept():
    assert formats.text("/data/" + "x" * 90 + "/a.jpg", 21) == "/data/xxxx…xxxx/a.jpg"


def test_what_turns_text_around_is_shown_as_what_it_is():
    assert formats.text("gpj.\u202etxt\udcfc") == "gpj.\ufffdtxt\ufffd"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(8.26, "8.3\xa0s"), (250, "4 min 10 s"), (7500, "2 h 5 min"), (59.96, "60.0\xa0s")],
)
def test_durations(seconds: float, expected: str):
    assert formats.seconds(seconds) == expected


def test_numbers():
    assert formats.share(0.12345) == "0.123"
    assert formats.share(-1) == formats.percent(None) == formats.UNDEFINED
    assert formats.percent(0.1234) == "12.3\xa0%"
    assert formats.count(1234567) == "1\u202f234\u202f567"
    assert [formats.counted(n, "image") for n in (0, 1, 2)] == [
        "0 images", "1 image", "2 images",
    ]  # fmt: skip
    assert [formats.rate(value) for value in (1.2345, 45.67, 1234.5)] == [
        "1.23", "45.7", "1\u202f234",
    ]  # fmt: skip


def test_what_turns_text_around_gets_into_no_page_and_no_chart():
    name = "\x1b[2J\u202egnp\udcfc\n\u202f漢字"
    shown = "\ufffd[2J\ufffdgnp\ufffd\n\u202f漢字"
    assert formats.visible(name) == shown
    page = Page(
        kind="Report", title=name, subtitle=name, state="done", is_good=True, sections=(),
        package="jobs.reporting",
    )  # fmt: skip
    assert render(page).decode().count(shown) == 3
    assert element("text", name, x=name) == f'<text x="{shown}">{shown}</text>'
