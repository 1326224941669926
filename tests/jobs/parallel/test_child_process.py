"""A child process that calls a function: its results, its errors, its deaths."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fcos_core.errors import VideoError
from jobs.parallel.child_process import ChildCrashedError, ChildOptions, ChildProcess
from jobs.parallel.map_blocks import TaskCrashed, map_blocks_in_child
from tests.commands import run_python
from tests.processes import children_below, is_gone, wait_until


def do(what: str, *, seen: Path | None = None) -> str:
    """Do what the argument says; ``once`` kills the first process only."""
    if what == "once" and seen is not None and not seen.exists():
        seen.touch()
        what = "die"
    ways: dict[str, Callable[[], object]] = {
        "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "exit": lambda: os._exit(3),
        "hang": lambda: time.sleep(3600),
        "refuse": lambda: _raise(VideoError("no video")),
        "bug": lambda: _raise(ZeroDivisionError("by nothing")),
        "memory": lambda: _raise(MemoryError("no more")),
    }
    ways.get(what, str)()
    return f"{what} is done"


def _raise(error: Exception) -> None:
    raise error


def test_a_child_answers_again_and_again_and_says_what_went_wrong() -> None:
    with ChildProcess(do) as child:
        assert child.call("a", limit_s=300) == "a is done"
        with pytest.raises(VideoError, match="no video"):
            child.call("refuse", limit_s=300)
        with pytest.raises(RuntimeError, match="ZeroDivisionError: by nothing"):
            child.call("bug", limit_s=300)
        with pytest.raises(ChildCrashedError, match="out of memory: no more"):
            child.call("memory", limit_s=300)
        os.kill(child.pid, signal.SIGINT)  # as Ctrl-C does to all processes of a terminal
        assert child.call("b", limit_s=300) == "b is done"
        with pytest.raises(ChildCrashedError, match=r"no answer within 0.2 s"):
            child.call("hang", limit_s=0.2)
    assert child.pid not in children_below(os.getpid())


def test_blocks_that_kill_are_named_and_the_others_are_done_in_order(tmp_path: Path) -> None:
    blocks = ("a", "die", "once", "exit", "b")
    found = list(
        map_blocks_in_child(partial(do, seen=tmp_path / "seen"), blocks, limit_s=lambda _: 300)
    )
    assert found == [
        "a is done",
        TaskCrashed("die", "the process that works on it dies: killed by SIGKILL"),
        "once is done",
        TaskCrashed("exit", "the process that works on it dies: exit code 3"),
        "b is done",
    ]


def test_a_watch_can_end_a_call_and_sees_the_process_id() -> None:
    seen: set[int] = set()

    def watch(pid: int) -> None:
        seen.add(pid)
        if is_hanging:
            raise VideoError("enough")

    is_hanging = False
    with ChildProcess(do, ChildOptions(poll_s=0.01, on_poll=watch)) as child:
        assert child.call("a", limit_s=300) == "a is done"
        is_hanging = True
        with pytest.raises(VideoError, match="enough"):
            child.call("hang", limit_s=300)
    assert seen == {child.pid}


@pytest.mark.parametrize("inherited", [signal.SIG_IGN, signal.default_int_handler])
def test_a_child_that_does_not_ignore_sigint_dies_of_it(inherited: Any) -> None:
    before = signal.signal(signal.SIGINT, inherited)  # SIG_IGN: as under nohup
    try:
        child = ChildProcess(do, ChildOptions(ignores_sigint=False))
    finally:
        signal.signal(signal.SIGINT, before)
    with child:
        assert child.call("a", limit_s=300) == "a is done"
        os.kill(child.pid, signal.SIGINT)
        with pytest.raises(ChildCrashedError, match="killed by SIGINT") as caught:
            child.call("b", limit_s=300)
    assert caught.value.ended_by == signal.SIGINT


class Unreadable:
    """A function that can be sent and not received."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[int, ...]]:
        return divmod, (1, 0)

    def __call__(self, argument: str) -> str:
        return argument


def test_a_function_that_the_child_cannot_load_is_a_bug_with_its_traceback() -> None:
    with (
        ChildProcess(Unreadable()) as child,
        pytest.raises(RuntimeError, match="ZeroDivisionError"),
    ):
        child.call("a", limit_s=300)


def test_a_child_ends_with_its_parent() -> None:
    code = (
        "import os; from jobs.parallel.child_process import ChildProcess\n"
        "child = ChildProcess(print); child.call('', limit_s=300)\n"
        "os.write(1, str(child.pid).encode()); os._exit(0)"
    )
    ended = run_python("-c", code)
    wait_until(lambda: is_gone(int(ended.stdout)), timeout_s=60)


def allocate(size_bytes: int) -> int:
    return len(bytearray(size_bytes))


def test_a_child_that_takes_too_much_memory_dies_alone():
    options = ChildOptions(memory_bytes=64 * 2**20, environment={"OF_A_TEST": "x"})
    with ChildProcess(allocate, options) as child:
        assert child.call(32 * 2**20, limit_s=60) == 32 * 2**20
        with pytest.raises(ChildCrashedError, match="out of memory"):
            child.call(100 * 2**20, limit_s=60)
