"""Real processes that really die; only what they compute is left out."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fcos_core.errors import ConfigError, DeviceError
from jobs.dispatch.poison_search import PoisonSearch, PoisonSearchLimits
from jobs.parallel.memory import Memory
from tests.commands import run_python
from tests.jobs.dispatch.scripted_workers import (
    BreaksTheDevice,
    BrokenDevice,
    DiesOfTheFourth,
    Scripted,
    shard_of,
)
from tests.jobs.worker.runs import settings_without_a_model
from tests.processes import children_below, is_gone, wait_until

pytestmark = pytest.mark.long

LIMITS = PoisonSearchLimits(start_s=300.0, item_s=300.0, row_s=0.0, total_s=600.0)


def find_poison(
    *uris: str,
    make_worker: Callable[..., Any] = Scripted,
    limits: PoisonSearchLimits = LIMITS,
    memory: Memory | None = None,
    run_uri: str = "/nowhere",
) -> dict[int, str]:
    settings = settings_without_a_model(run_uri=run_uri)
    search = PoisonSearch(make_worker, settings, limits, memory=memory)
    poison = search.find(shard_of(0, *uris).items)
    assert not [line for line in children_below(os.getpid()).values() if "child_process" in line]
    return poison


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
    died = "all 3 processes that computed only this item died: "
    assert find_poison("a", "b", uri) == {2: died + reason}


def test_all_items_that_kill_are_found() -> None:
    assert list(find_poison("system_exit", "a", "memory", "b")) == [0, 2]


def test_a_shard_in_which_nothing_kills_has_no_poison() -> None:
    assert find_poison("a", "b", "c") == {}
    assert find_poison() == {}


@pytest.mark.parametrize("uri", ["exit", "SIGKILL"])
def test_an_item_that_kills_once_is_no_poison(tmp_path: Path, uri: str) -> None:
    assert find_poison("a", f"{uri} unless {tmp_path / 'seen'}") == {}


def test_items_that_kill_only_together_are_no_poison() -> None:
    assert find_poison(*"abcdefg", make_worker=DiesOfTheFourth) == {}


def test_an_item_that_hangs_is_found_within_what_its_frames_may_take() -> None:
    limits = PoisonSearchLimits(start_s=300.0, item_s=0.5, row_s=0.25, total_s=600.0)
    (segment,) = shard_of(0, "hang").items
    segment = replace(segment, kind="video_segment", num_frames=4)
    search = PoisonSearch(Scripted, settings_without_a_model(), limits)
    (reason,) = search.find([segment]).values()
    assert reason.endswith("only this item died: no answer within 1.5 s")


class SmallMachine(Memory):
    """The memory of a machine that runs only what this process starts from now on.

    Another test's Ray may run below this process already.

    Args:
        size: of the memory, in bytes.
        others: bytes that other programs hold.
    """

    def __init__(self, size: int, others: int = 0) -> None:
        self.size, self.others = size, others
        self.before = set(children_below(os.getpid()))

    def total_bytes(self) -> int:
        return self.size

    def free_bytes(self) -> int:
        mine = set(children_below(os.getpid())) - self.before
        return self.size - self.others - sum(map(self.held_bytes, mine))


def test_an_item_that_takes_all_memory_is_found_before_the_machine_is_out_of_it() -> None:
    (reason,) = find_poison("a", "hog", memory=SmallMachine(300 * 2**20)).values()
    assert "only this item died: out of memory: it took 0." in reason


def test_memory_that_other_programs_hold_makes_no_item_poison() -> None:
    crowded = SmallMachine(2**40, others=2**40 - 2**20)
    with pytest.raises(
        DeviceError, match=r"of memory are free, and other programs hold it: this process"
    ):
        find_poison("hang", memory=crowded)


def test_no_item_is_poison_where_no_known_good_image_can_be_computed(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="known-good image: exit code 9"):
        find_poison("exit", make_worker=BrokenDevice)
    with pytest.raises(DeviceError, match="known-good image: exit code 9"):
        find_poison("exit", make_worker=BreaksTheDevice, run_uri=str(tmp_path / "touched"))


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_no_item_is_poison_when_another_program_ends_the_process(name: str) -> None:
    with pytest.raises(DeviceError, match=f"another program ended a process: killed by {name}"):
        find_poison("a", name)


def test_the_stack_of_a_crash_is_in_the_log_of_the_worker(
    capfd: pytest.CaptureFixture[str],
) -> None:
    find_poison("segfault")
    assert "Fatal Python error: Segmentation fault" in capfd.readouterr().err


def test_a_config_error_and_a_bug_end_the_search() -> None:
    with pytest.raises(ConfigError, match="no such thing"):
        find_poison("config")
    with pytest.raises(RuntimeError, match="ZeroDivisionError: by nothing"):
        find_poison("bug")


def test_a_search_that_runs_out_of_time_returns_the_poison_found_so_far() -> None:
    limits = PoisonSearchLimits(start_s=300.0, item_s=300.0, row_s=0.0, total_s=0.2)
    assert list(find_poison("exit", "exit", limits=limits)) == [0]


def test_the_child_of_a_search_ends_with_its_parent() -> None:
    code = (
        "import os; from jobs.dispatch.poison_search import *\n"
        "limits = PoisonSearchLimits(start_s=300.0, item_s=300.0, row_s=0.0, total_s=300.0)\n"
        "child = PoisonSearch(print, None, limits)._start_child()\n"
        "os.write(1, str(child.pid).encode()); os._exit(0)"
    )
    ended = run_python("-c", code)
    wait_until(lambda: is_gone(int(ended.stdout)), timeout_s=60)
