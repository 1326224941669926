"""Real processes that really die; only what they compute is left out."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fcos_core.errors import ConfigError, DeviceError
from jobs.dispatch.poison_search import Examination, ExaminationLimits
from jobs.parallel.memory import Memory
from tests.commands import run_python
from tests.jobs.dispatch.scripted_workers import Sick, Sickening, Touchy, Weary, shard_of
from tests.jobs.worker.runs import settings_without_a_model
from tests.processes import children_below, is_gone, wait_until

pytestmark = pytest.mark.long

LIMITS = ExaminationLimits(start_s=300.0, item_s=300.0, row_s=0.0, total_s=600.0)


def examine(
    *uris: str,
    make_worker: Callable[..., Any] = Touchy,
    limits: ExaminationLimits = LIMITS,
    memory: Memory | None = None,
    run_uri: str = "/nowhere",
) -> dict[int, str]:
    settings = settings_without_a_model(run_uri=run_uri)
    examination = Examination(make_worker, settings, limits, memory=memory)
    found = examination.poison(shard_of(0, *uris).items)
    assert not [line for line in children_below(os.getpid()).values() if "rehearsal" in line]
    return found


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("exit", "exit code 3"),
        ("segfault", "killed by SIGSEGV"),
        ("SIGKILL", "killed by SIGKILL"),
        ("device", "CUDA error: an illegal memory access"),
    ],
)
def test_the_item_that_kills_is_found_with_the_reason_and_no_other(uri: str, reason: str) -> None:
    died = "a process that computed nothing else died, 3 times of 3: "
    assert examine("a", "b", uri) == {2: died + reason}


def test_all_items_that_kill_are_found() -> None:
    assert list(examine("system_exit", "a", "memory", "b")) == [0, 2]


def test_a_shard_in_which_nothing_kills_has_no_poison() -> None:
    assert examine("a", "b", "c") == {}
    assert examine() == {}


@pytest.mark.parametrize("uri", ["exit", "SIGKILL"])
def test_an_item_that_kills_once_is_innocent(tmp_path: Path, uri: str) -> None:
    assert examine("a", f"{uri} unless {tmp_path / 'seen'}") == {}


def test_items_that_kill_only_together_are_innocent() -> None:
    assert examine(*"abcdefg", make_worker=Weary) == {}


def test_an_item_that_hangs_is_found_within_what_its_frames_may_take() -> None:
    limits = ExaminationLimits(start_s=300.0, item_s=0.5, row_s=0.25, total_s=600.0)
    (segment,) = shard_of(0, "hang").items
    segment = replace(segment, kind="video_segment", num_frames=4)
    examination = Examination(Touchy, settings_without_a_model(), limits)
    (reason,) = examination.poison([segment]).values()
    assert reason.endswith("3 times of 3: no answer within 1.5 s")


class SmallMachine(Memory):
    """A machine of its own for the processes below this one.

    Args:
        size: of its memory, in bytes.
        others: what processes elsewhere hold.
    """

    def __init__(self, size: int, others: int = 0) -> None:
        self.size, self.others = size, others

    def total_bytes(self) -> int:
        return self.size

    def free_bytes(self) -> int:
        held = sum(self.held_bytes(pid) for pid in children_below(os.getpid()))
        return self.size - self.others - held


def test_an_item_that_eats_all_memory_is_found_before_the_machine_is_out_of_it() -> None:
    (reason,) = examine("a", "hog", memory=SmallMachine(300 * 2**20)).values()
    assert "3 times of 3: out of memory: it took 0." in reason


def test_hunger_that_is_not_the_items_doing_accuses_nobody() -> None:
    crowded = SmallMachine(2**40, others=2**40 - 2**20)
    with pytest.raises(DeviceError, match=r"short of memory.* it is not this process's doing"):
        examine("hang", memory=crowded)


def test_where_no_good_image_can_be_computed_nobody_is_accused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="known to be good: exit code 9"):
        examine("exit", make_worker=Sick)
    with pytest.raises(DeviceError, match="known to be good: exit code 9"):
        examine("exit", make_worker=Sickening, run_uri=str(tmp_path / "touched"))


def test_a_process_that_was_told_to_end_accuses_nobody() -> None:
    with pytest.raises(DeviceError, match="ended by SIGTERM: by somebody's order"):
        examine("a", "SIGTERM")


def test_what_cannot_work_and_bugs_arrive_as_they_are() -> None:
    with pytest.raises(ConfigError, match="no such thing"):
        examine("config")
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by nothing"):
        examine("bug")


def test_a_long_examination_gives_what_it_has_found_so_far() -> None:
    limits = ExaminationLimits(start_s=300.0, item_s=300.0, row_s=0.0, total_s=0.2)
    assert list(examine("exit", "exit", limits=limits)) == [0]


def test_a_search_ends_with_whoever_ordered_it() -> None:
    code = (
        "import os; from jobs.dispatch.poison_search import *\n"
        "limits = ExaminationLimits(start_s=300.0, item_s=300.0, row_s=0.0, total_s=300.0)\n"
        "with Examination(print, None, limits)._process() as (process, _):\n"
        "    os.write(1, str(process.pid).encode()); os._exit(0)"
    )
    ended = run_python("-c", code)
    wait_until(lambda: is_gone(int(ended.stdout)), timeout_s=60)
