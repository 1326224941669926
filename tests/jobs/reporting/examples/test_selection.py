"""The same few images stand out, in whatever order a run is read."""

import random

from hypothesis import given
from hypothesis import strategies as st

from jobs.reporting.examples.selection import PER_PANEL, PlainChoices
from tests.jobs.reporting.runs import found

BOX = (1.0, 1.0, 9.0, 9.0)


@given(st.lists(st.integers(0, 6), max_size=40), st.randoms())
def test_the_fullest_are_those_of_a_whole_sort(counts: list[int], order: random.Random):
    rows = [found(i, f"/d/{i}.jpg", [(1, 0.9, BOX)] * count) for i, count in enumerate(counts)]
    shuffled = order.sample(rows, len(rows))
    choices = PlainChoices(0.5)
    for row in shuffled:
        choices.offer(row)

    sample, fullest = choices.panels()

    full = [row for row in rows if len(row.scores)]
    expected = sorted(full, key=lambda row: (-len(row.scores), row.item_id))[:PER_PANEL]
    assert [choice.row.item_id for choice in fullest.choices] == [row.item_id for row in expected]
    assert len(sample.choices) == min(PER_PANEL, len(rows))


def test_a_sample_depends_on_names_alone():
    rows = [found(i, f"/d/{i}.jpg", []) for i in range(50)]

    def sample(offered: list) -> list[str]:
        choices = PlainChoices(0.5)
        for row in offered:
            choices.offer(row)
        return [choice.row.uri for choice in choices.panels()[0].choices]

    assert sample(rows) == sample(rows[::-1])
    assert sample(rows) != [row.uri for row in rows[:PER_PANEL]]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=120), st.randoms())
def test_of_frames_that_follow_one_another_one_is_shown(counts: list[int], order: random.Random):
    rows = [
        found(0, "/d/v.mp4", [(1, 0.9, BOX)] * count, frame_index=i, timestamp_s=i / 25)
        for i, count in enumerate(counts)
    ]
    choices = PlainChoices(0.5, "frames")
    for row in order.sample(rows, len(rows)):
        choices.offer(row)

    _, fullest = choices.panels()

    seconds = [rows[i : i + 32] for i in range(0, len(rows), 32)]
    best = [
        max(part, key=lambda row: (len(row.scores), -(row.frame_index or 0))) for part in seconds
    ]
    expected = sorted(
        (r for r in best if len(r.scores)), key=lambda r: (-len(r.scores), r.frame_index or 0)
    )
    assert [c.row.frame_index for c in fullest.choices] == [r.frame_index for r in expected]
    assert fullest.title == "Most objects, frames"
