"""What the fuzz tests share: the seed, and how many cases a test takes."""

import os

import pytest

SEED = int(os.environ.get("FUZZ_SEED", "0"))


def cases(few: int, many: int) -> pytest.MarkDecorator:
    """Run a test with few cases in ``make test``, and with many where slow tests run.

    Args:
        few: as many as some seconds allow.
        many: as many as some minutes allow.
    """
    sizes = [
        pytest.param(few, id="few", marks=pytest.mark.long),
        pytest.param(many, id="many", marks=pytest.mark.slow),
    ]
    return pytest.mark.parametrize("count", sizes)
