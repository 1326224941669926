"""A process that is asked one thing after another: its answers, its errors, its deaths."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fcos_core.errors import VideoError
from jobs.parallel.child_process import Child, ChildDiedError
from jobs.parallel.map_blocks import TaskCrashed, map_in_children
from tests.commands import run_python
from tests.processes import children_below, is_gone, wait_until


def do(what: str, *, seen: Path | None = None) -> str:
    """Do as it is told; ``once`` it dies, and then never again."""
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


def test_it_answers_again_and_again_and_says_what_went_wrong() -> None:
    with Child(do) as child:
        assert child.ask("a", limit_s=300) == "a is done"
        with pytest.raises(VideoError, match="no video"):
            child.ask("refuse", limit_s=300)
        with pytest.raises(RuntimeError, match="ZeroDivisionError: by nothing"):
            child.ask("bug", limit_s=300)
        with pytest.raises(ChildDiedError, match="out of memory: no more"):
            child.ask("memory", limit_s=300)
        os.kill(child.pid, signal.SIGINT)  # as Ctrl-C does to all processes of a terminal
        assert child.ask("b", limit_s=300) == "b is done"
        with pytest.raises(ChildDiedError, match=r"no answer within 0.2 s"):
            child.ask("hang", limit_s=0.2)
    assert child.pid not in children_below(os.getpid())


def test_what_kills_is_said_and_the_rest_is_done_in_order(tmp_path: Path) -> None:
    blocks = ("a", "die", "once", "exit", "b")
    found = list(
        map_in_children(partial(do, seen=tmp_path / "seen"), blocks, limit_s=lambda _: 300)
    )
    assert found == [
        "a is done",
        TaskCrashed("die", "whoever works at it dies: killed by SIGKILL"),
        "once is done",
        TaskCrashed("exit", "whoever works at it dies: exit code 3"),
        "b is done",
    ]


def test_it_ends_with_its_parent() -> None:
    code = (
        "import os; from jobs.parallel.child_process import Child\n"
        "child = Child(print); child.ask('', limit_s=300)\n"
        "os.write(1, str(child.pid).encode()); os._exit(0)"
    )
    ended = run_python("-c", code)
    wait_until(lambda: is_gone(int(ended.stdout)), timeout_s=60)
