import pytest

from jobs.settings.max_bad import MaxBad


@pytest.mark.parametrize(
    ("text", "planned", "rows"),
    [
        ("0", 1000, 0),
        ("10", 1000, 10),
        ("1%", 1000, 10),
        ("0.1%", 999, 0),
        ("0.1 %", 1000, 1),
        ("100%", 7, 7),
    ],
)
def test_counts_and_percentages_become_rows(text: str, planned: int, rows: int) -> None:
    assert MaxBad.parse(text).num_rows(planned) == rows


@pytest.mark.parametrize("text", ["", "-1", "1.5", "ten", "%", "101%", "1%%", "nan%"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        MaxBad.parse(text)
