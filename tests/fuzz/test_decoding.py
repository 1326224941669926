"""Mutated images through the decoder, in a process that a decoder may take down with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.fuzz.conftest import SEED, cases

ROOT = Path(__file__).resolve().parents[2]


@cases(few=1_500, many=40_000)
def test_every_mutated_image_ends_in_pixels_or_an_image_error(
    count: int, shared_data: Path, tmp_path: Path
):
    case = tmp_path / "case"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz.decode_many"),
            *(str(shared_data), str(SEED), str(count), str(case)),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        timeout=3_000,
        check=False,
    )
    last = case.read_bytes()
    assert done.returncode == 0, (
        f"died of exit code {done.returncode} on these {len(last)} bytes: {last.hex()}\n"
        f"{done.stderr[-4000:].decode(errors='replace')}"
    )
    told = json.loads(done.stdout)
    assert told["count"] == count
    # Neither all refused, which would test nothing, nor all decoded, which would be no damage.
    assert count // 20 < told["decoded"] < count // 2
    assert told["slowest_s"] < 60, told
