"""What a guard passes on, seen from outside: signals, exit codes, and why Ray is lost."""

import contextlib
import os
import pty
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.commands import Answer, Running, run_python, started_python
from tests.processes import is_gone, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a guard needs Linux")

PROGRAM = """
import os, signal, sys, time
from fcos_core.errors import IncompleteRunError
from jobs.parallel.guard import RayLostError, done, end_done, end_lost, guarded

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored under nohup

def command():
{body}

try:
    code = guarded(command)
except KeyboardInterrupt:
    code = 130
except IncompleteRunError as error:
    print("error:", error, file=sys.stderr)
    code = 3
sys.exit(code)
"""

WAITING = """
    came = []
    signal.signal(signal.SIGUSR1, lambda *_: came.append("USR1"))
    try:
        print(os.getpid(), flush=True)
        for _ in range(300):  # a signal just before a sleep does not cut it short
            time.sleep(0.1)
    finally:
        time.sleep(0.3)
        print(came, flush=True)
"""


def program(body: str) -> str:
    return PROGRAM.format(body=body if body.startswith("\n") else f"    {body}")


def answer(body: str) -> Answer:
    return run_python("-c", program(body), timeout_s=60)


def first_line(running: Running) -> str:
    assert running.process.stdout is not None
    return running.process.stdout.readline().strip()


@pytest.mark.parametrize("code", [0, 2, 130])
def test_an_exit_code_is_passed_on(code: int) -> None:
    assert answer(f"return {code}").code == code


def test_a_bug_shows_its_traceback_once_and_is_exit_code_1() -> None:
    done = answer("raise ValueError('a bug')")
    assert done.code == 1
    assert done.stderr.count("ValueError: a bug") == 1
    assert "Ray" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_signal_that_ends_the_command_ends_its_guard(number: signal.Signals) -> None:
    done = answer(f"os.kill(os.getpid(), {int(number)})")
    assert done.code == -number


def test_an_end_without_a_word_is_said_to_be_rays() -> None:
    done = answer("os._exit(1)")
    assert done.code == 3
    assert done.error.startswith("Ray has ended the command, since its cluster does not answer")


def test_another_end_without_a_word_is_passed_on() -> None:
    assert answer("os._exit(7)").code == 7


def test_a_command_whose_ray_is_lost_is_started_again(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    done = answer(f"""
    if os.path.exists({str(mark)!r}):
        return 0
    open({str(mark)!r}, "w").close()
    raise RayLostError("the raylet has died")
""")
    assert done.code == 0
    assert done.stderr == "the raylet has died; the command is started again\n"


@pytest.mark.parametrize("loses", ["raise RayLostError('it died')", "end_lost('it died')"])
def test_a_command_whose_ray_is_lost_each_time_is_incomplete(loses: str) -> None:
    done = answer(loses)
    assert done.code == 3
    assert done.stderr.count("it died; the command is started again") == 2
    assert done.error.startswith("it died")


@pytest.mark.parametrize("ends", ["end_done()", "os._exit(1)"])  # as Ray does
@pytest.mark.parametrize("code", [0, 3])
def test_how_ray_ends_does_not_change_the_code_of_work_that_is_done(code: int, ends: str) -> None:
    answered = answer(f"""
    print("result", flush=True)
    done({code})
    {ends}
""")
    assert (answered.code, answered.stdout, answered.stderr) == (code, "result\n", "")


def test_a_process_that_the_command_leaves_behind_holds_up_nothing() -> None:
    started_at = time.monotonic()
    assert (
        answer("""
    if os.fork() == 0:
        os.closerange(1, 3)
        time.sleep(30)
    os._exit(7)
""").code
        == 7
    )
    assert time.monotonic() - started_at < 25


def test_a_crash_is_seen_even_after_the_work_is_done() -> None:
    assert (
        answer("""
    done(0)
    os.abort()
""").code
        == -signal.SIGABRT
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("to_group", [False, True])
def test_an_interrupt_reaches_the_command_once(number: signal.Signals, *, to_group: bool) -> None:
    with started_python("-c", program(WAITING)) as running:
        first_line(running)
        running.send(number, to_group=to_group)
        done = running.finish(30)
    assert (done.code, done.stdout) == (130, "[]\n")
    assert done.stderr == ""


def test_another_signal_is_passed_on_and_the_command_goes_on() -> None:
    with started_python("-c", program(WAITING)) as running:
        first_line(running)
        running.send(signal.SIGUSR1)
        time.sleep(0.2)
        assert not running.has_ended()
        running.send(signal.SIGTERM)
        done = running.finish(30)
    assert (done.code, done.stdout) == (130, "['USR1']\n")


def test_a_hangup_ends_command_and_guard() -> None:
    with started_python("-c", program(WAITING)) as running:
        command = int(first_line(running))
        running.send(signal.SIGHUP)
        assert running.finish(30).code == -signal.SIGHUP
    assert is_gone(command)


def test_a_killed_guard_takes_the_command_along() -> None:
    with started_python("-c", program(WAITING)) as running:
        command = int(first_line(running))
        assert running.kill().code == -signal.SIGKILL
    wait_until(lambda: is_gone(command), timeout_s=10)


def test_the_guard_imports_nothing_heavy() -> None:
    heavy = "ray torch numpy pyarrow pydantic typer"
    code = "import sys, jobs.parallel.guard; print({*sys.argv[1:]} & {*sys.modules})"
    assert run_python("-c", code, *heavy.split()).stdout == "set()\n"


SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
guard = os.posix_spawn(sys.executable, [sys.executable, "-c", sys.argv[1]], os.environ, setpgroup=0,
                       setsigdef=[signal.SIGTTOU])
os.tcsetpgrp(0, guard)
while True:
    status = os.waitpid(guard, os.WUNTRACED)[1]
    if not os.WIFSTOPPED(status):
        os._exit(os.waitstatus_to_exitcode(status))
    print("stopped", flush=True)
    os.tcsetpgrp(0, os.getpgrp())
    sys.stdin.readline()
    os.tcsetpgrp(0, guard)
    os.killpg(guard, signal.SIGCONT)
"""
"""A shell's part of job control: it says when the job has stopped, and resumes it at a line."""


class Terminal:
    """A terminal of its own, with the waiting command in it."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", *arguments])  # noqa: S606
        self.shown = ""

    def wait_for(self, pattern: str) -> str:
        while (found := re.search(pattern, self.shown)) is None:
            self.shown += os.read(self._master, 1000).decode()
        return found[0]

    def press(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def finish(self) -> int:
        with contextlib.suppress(OSError):  # all processes have closed it
            while True:
                self.shown += os.read(self._master, 1000).decode()
        os.close(self._master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_ctrl_c_reaches_the_command_once() -> None:
    terminal = Terminal(program(WAITING))
    terminal.wait_for(r"\d+\r\n")
    terminal.press(b"\x03")
    assert terminal.finish() == 130
    assert terminal.shown.endswith("[]\r\n")
    assert "Traceback" not in terminal.shown


def test_ctrl_z_stops_guard_and_command_and_they_go_on() -> None:
    terminal = Terminal(SHELL, program(WAITING))
    command = int(terminal.wait_for(r"\d+\r\n"))
    terminal.press(b"\x1a")
    terminal.wait_for("stopped")
    wait_until(lambda: state_of(command) == "T", timeout_s=10)
    terminal.press(b"\n")
    wait_until(lambda: state_of(command) == "S", timeout_s=10)
    terminal.press(b"\x03")
    assert terminal.finish() == 130


def test_where_nobody_could_resume_them_ctrl_z_stops_neither() -> None:
    terminal = Terminal(program(WAITING))  # no shell: as with ssh -t host fcos ...
    command = int(terminal.wait_for(r"\d+\r\n"))
    terminal.press(b"\x1a")
    time.sleep(0.2)
    assert "T" not in {state_of(terminal.pid), state_of(command)}
    terminal.press(b"\x03")
    assert terminal.finish() == 130
