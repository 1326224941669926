"""Mutated images through the decoder, in a process that a decoder may crash."""

import json
from pathlib import Path

from tests.commands import DONE, run_python
from tests.fuzz.conftest import SEED, cases


@cases(few=600, many=40_000)
def test_every_mutated_image_ends_in_pixels_or_an_image_error(
    count: int, shared_data: Path, tmp_path: Path
):
    case = tmp_path / "case"
    done = run_python(
        *("-m", "tests.fuzz.decode_many", shared_data, SEED, count, case), timeout_s=3_000
    )
    last = case.read_bytes()
    assert done.code == DONE, (
        f"exit code {done.code} on these {len(last)} bytes: {last.hex()}\n{done.stderr[-4000:]}"
    )
    counts = json.loads(done.stdout)
    assert counts["count"] == count
    # Neither all refused, which would test nothing, nor all decoded, which would be no damage.
    assert count // 20 < counts["decoded"] < count // 2
    assert counts["slowest_s"] < 60, counts
