"""Charts: values lie where their axes say, and every text in them is escaped."""

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.html.charts import Bar, Series, histogram, line_chart, reliability, share_axis
from jobs.html.svg import Frame, axis_from_zero
from tests.jobs.html.pages import parse

HOSTILE = "\"'><script>alert(1)</script>"


@given(st.floats(1e-3, 1e9))
def test_an_axis_ends_just_above_the_largest_value_at_a_tick(largest: float):
    axis = axis_from_zero("x", largest)
    ticks = [value for value, _ in axis.ticks]

    assert largest <= axis.high * (1 + 1e-8) <= largest * 1.7
    assert 3 <= len(ticks) <= 6
    assert (ticks[0], ticks[-1]) == (0, axis.high)


@pytest.mark.parametrize(("largest", "names"), [(0, ["0", "1"]), (3, ["0", "1", "2", "3"])])
def test_an_axis_of_few_counts_has_whole_ticks(largest: int, names: list[str]):
    axis = axis_from_zero("x", largest, is_whole=True)

    assert [name for _, name in axis.ticks] == names


def test_points_lie_in_the_corners_that_their_values_name():
    figure = line_chart(
        "t",
        share_axis("recall"),
        share_axis("precision"),
        [Series(name="a", points=[(0, 0), (1, 1)])],
    )

    frame = Frame(x=share_axis("recall"), y=share_axis("precision"))
    path = parse(str(figure.image)).named("path")[0].attributes["d"]
    assert path == f"M{frame.left:.1f} {frame.bottom:.1f}L{frame.right:.1f} {frame.top:.1f}"


def test_a_line_that_ends_early_has_no_values_after_its_end():
    ends = Series(name="ends", points=[(0, 0.5), (0.5, 0.25)])
    whole = Series(name="whole", points=[(0, 1), (1, 1)])

    figure = line_chart("t", share_axis("recall"), share_axis("precision"), [whole, ends])

    assert [row[2].text for row in figure.table.rows][:7] == [
        "0.5", "0.25", "0.25", "0.25", "0.25", "0.25", "\N{EN DASH}",
    ]  # fmt: skip


def test_names_in_charts_are_text():
    series = [Series(name=HOSTILE, points=[(0, 0), (1, 1)])]
    lines = line_chart(HOSTILE, share_axis(HOSTILE), share_axis("y"), series)
    bars = histogram(HOSTILE, HOSTILE, [Bar(low=HOSTILE, high="2", count=3)], y_title=HOSTILE)

    for figure in (lines, bars):
        page = parse(str(figure.image))
        assert not page.named("script")
        assert page.named("svg")[0].attributes["aria-label"].startswith(HOSTILE)
    carried = json.loads(parse(str(lines.image)).named("svg")[0].attributes["data-lines"])
    assert carried["series"][0]["name"] == HOSTILE


@pytest.mark.parametrize("counts", [[], [0], [0, 5, 2]])
def test_columns_are_as_high_as_their_counts(counts: list[int]):
    bars = [Bar(low=str(i), high=str(i + 1), count=count) for i, count in enumerate(counts)]

    page = parse(str(histogram("t", "x", bars, y_title="n").image))

    heights = [float(one.attributes["height"]) for one in page.named("rect")]
    most = max(heights, default=0)
    assert len(heights) == len(counts)
    assert [round(height / (most or 1), 2) for height in heights] == [
        round(count / (max(counts) or 1), 2) for count in counts
    ]


def test_reliability_leaves_the_ideal_to_compare_with():
    page = parse(str(reliability("t", [(0.0, 0.5, 0.25, 8)], y_title="precision").image))

    assert page.named("rect")[0].attributes["data-tip"].endswith(", 8 detections")
    assert [one for one in page.named("line") if one.attributes["class"] == "ideal"]


def test_charts_are_well_formed():
    parser = HTMLParser()
    parser.feed(str(histogram("t", "x", [Bar(low="0", high="1", count=1)], y_title="n").image))
    assert not parser.rawdata
