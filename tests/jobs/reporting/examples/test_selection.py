"""The selected examples do not depend on the order of the rows."""

import random

from hypothesis import given
from hypothesis import strategies as st

from jobs.reporting.examples.selection import PER_SET, UnannotatedSelection
from tests.jobs.reporting.runs import found

BOX = (1.0, 1.0, 9.0, 9.0)


@given(st.lists(st.integers(0, 6), max_size=40), st.randoms())
def test_the_images_with_most_detections_are_those_of_a_full_sort(
    counts: list[int], order: random.Random
):
    rows = [found(i, f"/d/{i}.jpg", [(1, 0.9, BOX)] * count) for i, count in enumerate(counts)]
    shuffled = order.sample(rows, len(rows))
    selection = UnannotatedSelection(0.5)
    for row in shuffled:
        selection.add(row)

    sample, fullest = selection.example_sets()

    full = [row for row in rows if len(row.scores)]
    expected = sorted(full, key=lambda row: (-len(row.scores), row.item_id))[:PER_SET]
    assert [example.row.item_id for example in fullest.examples] == [
        row.item_id for row in expected
    ]
    assert len(sample.examples) == min(PER_SET, len(rows))


def test_a_sample_depends_only_on_file_names():
    rows = [found(i, f"/d/{i}.jpg", []) for i in range(50)]

    def sample(offered: list) -> list[str]:
        selection = UnannotatedSelection(0.5)
        for row in offered:
            selection.add(row)
        return [example.row.uri for example in selection.example_sets()[0].examples]

    assert sample(rows) == sample(rows[::-1])
    assert sample(rows) != [row.uri for row in rows[:PER_SET]]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=120), st.randoms())
def test_one_of_successive_frames_is_shown(counts: list[int], order: random.Random):
    rows = [
        found(0, "/d/v.mp4", [(1, 0.9, BOX)] * count, frame_index=i, timestamp_s=i / 25)
        for i, count in enumerate(counts)
    ]
    selection = UnannotatedSelection(0.5, "frames")
    for row in order.sample(rows, len(rows)):
        selection.add(row)

    _, fullest = selection.example_sets()

    seconds = [rows[i : i + 32] for i in range(0, len(rows), 32)]
    best = [
        max(part, key=lambda row: (len(row.scores), -(row.frame_index or 0))) for part in seconds
    ]
    expected = sorted(
        (r for r in best if len(r.scores)), key=lambda r: (-len(r.scores), r.frame_index or 0)
    )
    assert [c.row.frame_index for c in fullest.examples] == [r.frame_index for r in expected]
    assert fullest.title == "Frames with most detections"
