"""Settings of ``fcos detect``: limits are checked when they are built."""

from typing import Any

import pytest
from pydantic import ValidationError

from jobs.settings.detect import DetectConfig

MINIMAL: dict[str, Any] = {"inputs": ("images",), "out": "run"}


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": ()},
        {"batch_size": 0},
        {"num_actors": 0},
        {"num_actors": "many"},
        {"score_threshold": 1.5},
        {"limit": 0},
        {"max_bad": "lots"},
        {"precision": "fp64"},
        {"colour": "red"},
    ],
)
def test_impossible_settings_are_refused_when_they_are_built(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DetectConfig(**{**MINIMAL, **changes})


def test_numbers_from_flags_and_files_are_understood() -> None:
    assert DetectConfig(**MINIMAL, num_actors="3").num_actors == 3
    assert DetectConfig(**MINIMAL, max_bad=5).max_bad == "5"


def test_settings_cannot_change_once_built() -> None:
    config = DetectConfig(**MINIMAL)
    with pytest.raises(ValidationError):
        config.batch_size = 9
