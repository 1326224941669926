"""A process that has read a run ends well, whatever Arrow's threads do at that moment."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.commands import run_python
from tests.jobs.rundir.endings import DONE
from tests.jobs.rundir.strategies import begin_run, finish_run, images
from tests.processes import busy_loops


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with its curves, and two Parquet files of images."""
    run = begin_run(tmp_path / "run", images(64, shard_size=16))
    finish_run(run)
    (tmp_path / "run/evaluation").mkdir()
    curves = {name: [None] for name in ("category_id", "iou")}
    curves |= {name: [[0.5]] for name in ("recall", "precision")}
    pq.write_table(pa.table(curves), run.evaluation_uri("curves.parquet"))
    (tmp_path / "inputs").mkdir()
    values = [np.random.default_rng(i).bytes(1000) for i in range(64)]
    pq.write_table(pa.table({"bytes": values}), tmp_path / "inputs/rows.parquet", row_group_size=8)
    uris = [f"{i}.jpg" for i in range(64)]
    pq.write_table(pa.table({"uri": uris}), tmp_path / "inputs/uris.parquet", row_group_size=8)
    return tmp_path


def test_no_thread_of_arrow_holds_a_python_buffer_when_python_ends(folder: Path):
    ended = run_python("-m", "tests.jobs.rundir.endings", folder, 2)
    assert ended.result() == {str(DONE): 2}, ended.stderr


@pytest.mark.slow
def test_five_hundred_endings_on_a_busy_machine(folder: Path):
    with busy_loops(2):
        ended = run_python("-m", "tests.jobs.rundir.endings", folder, 500, timeout_s=3600)
    assert ended.result() == {str(DONE): 500}, ended.stderr
