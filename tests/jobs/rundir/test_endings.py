"""A process that has read a run ends well, whatever Arrow's threads do at that moment."""

from pathlib import Path

import pytest

from tests.commands import run_python
from tests.jobs.rundir.endings import DONE, write_inputs
from tests.processes import busy_loops


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A run, its curves and Parquet files of images."""
    write_inputs(tmp_path)
    return tmp_path


def test_no_thread_of_arrow_holds_a_python_buffer_when_python_ends(inputs: Path):
    ended = run_python("-m", "tests.jobs.rundir.endings", inputs, 2)
    assert ended.result() == {str(DONE): 2}, ended.stderr


@pytest.mark.slow
def test_five_hundred_endings_on_a_busy_machine(inputs: Path):
    with busy_loops(2):
        ended = run_python("-m", "tests.jobs.rundir.endings", inputs, 500)
    assert ended.result() == {str(DONE): 500}, ended.stderr
