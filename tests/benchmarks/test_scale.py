"""The driver takes all answers that are there at one look, which costs time for every actor."""

from benchmarks.scale.loop import drive


def test_a_thousand_actors_that_answer_at_once_are_not_looked_at_for_each_answer():
    loop = drive(1_000, num_shards=10_000)
    assert loop.num_looks < 10_000 / 100
