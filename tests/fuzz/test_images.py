"""Mutated images through the whole command: no crash, and one row for each."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyarrow has no types

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import table_to_rows
from jobs.rundir.shard_reading import iterate_rows
from tests.commands import fcos
from tests.fuzz.conftest import SEED, cases
from tests.fuzz.mutations import mutate
from tests.fuzz.sources import sound_images

pytestmark = pytest.mark.ray

_OUR_LINES = re.compile(
    r"\S+/run: \d+ shards? to do, \d+ workers? .*|detect: .*"
    r"|engine \w+ in \w+: .*|starting Ray|Ray did not start in time, and is started again: .*"
)


def write_mutants(shared_data: Path, folder: Path, count: int) -> None:
    """Write so many damaged files, under the names of what they were."""
    sources = sound_images(shared_data)
    names, donors = list(sources), list(sources.values())
    folder.mkdir()
    for number in range(count):
        random = np.random.default_rng([SEED, number])
        name = names[int(random.integers(len(names)))]
        (folder / f"{number:05d}-{name}").write_bytes(mutate(sources[name], donors, random))


@cases(few=25, many=1_500)
def test_a_run_over_mutated_images_is_complete_and_quiet(
    count: int, shared_data: Path, tmp_path: Path, tiny_weights: Path
):
    write_mutants(shared_data, tmp_path / "mutants", count)
    done = fcos(
        *("detect", "mutants", "--out", "run", "--weights", tiny_weights),
        *("--shard-size", 50, "--num-actors", 2, "--threads-per-actor", 1),
        cwd=tmp_path,
        timeout_s=3_000,
    )
    summary = done.result()
    strange = [line for line in done.stderr.splitlines() if not _OUR_LINES.fullmatch(line)]
    assert strange == []
    assert (summary["planned"], summary["missing"], summary["duplicated"]) == (count, 0, 0)
    assert summary["ok"] + summary["quarantined"] == count
    assert summary["ok"] > count // 20
    rows = [
        row
        for table in iterate_rows(RunDirectory(str(tmp_path / "run")))
        for row in table_to_rows(table)
    ]
    assert {Path(row.uri).name for row in rows} == {
        path.name for path in (tmp_path / "mutants").iterdir()
    }
    classes = Counter(row.error_class for row in rows if row.status == "quarantined")
    assert set(classes) == {"ImageError"}, classes
    for row in rows:
        assert row.error is None or (row.error.startswith(row.uri) and "\n" not in row.error)
