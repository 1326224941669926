import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from jobs.parallel.ray_scratch import kill_users, scratch_folder
from jobs.parallel.signals import (
    check_interrupted,
    environment,
    kept_signal_handlers,
    quiet_stdout,
    terminate_as_interrupt,
)


def first_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def test_sigterm_interrupts_as_ctrl_c_does_and_only_inside() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def be_terminated() -> None:
        with terminate_as_interrupt():
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)

    with pytest.raises(KeyboardInterrupt):
        be_terminated()
    assert signal.getsignal(signal.SIGTERM) == before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    done: list[bool] = []

    def use() -> None:
        with terminate_as_interrupt(), kept_signal_handlers():
            done.append(True)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert done == [True]


def test_handlers_that_another_library_replaces_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with kept_signal_handlers():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == before


def test_environment_is_set_unless_the_user_has_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FCOS_TEST_A", "mine")
    monkeypatch.delenv("FCOS_TEST_B", raising=False)
    with environment({"FCOS_TEST_A": "yours", "FCOS_TEST_B": "yours"}):
        assert os.environ["FCOS_TEST_A"] == "mine"
        assert os.environ["FCOS_TEST_B"] == "yours"
    assert "FCOS_TEST_B" not in os.environ
    assert os.environ["FCOS_TEST_A"] == "mine"


def test_stdout_is_quiet_only_inside(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet_stdout():
        sys.stdout.write("inside")
    sys.stdout.write("outside")
    assert capsys.readouterr().out == "outside"


def test_scratch_folder_goes_at_the_end_and_is_short(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(deep))
        with scratch_folder() as folder:
            assert folder.is_dir()
            assert len(str(folder)) < 50
    assert not folder.exists()


def test_scratch_of_a_killed_session_goes_and_that_of_a_live_one_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with scratch_folder() as base:
        monkeypatch.setattr(tempfile, "tempdir", str(base))
        code = (
            "import os, signal, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
            "from jobs.parallel.ray_scratch import kill_users, scratch_folder\n"
            "with scratch_folder() as folder:\n"
            "    print(folder, flush=True)\n"
            "    sys.stdin.read()\n"
        )
        sessions = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(base)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        folders = [Path(first_line(session.stdout)) for session in sessions]
        sessions[0].kill()
        sessions[0].wait()
        assert folders[0].is_dir()
        with scratch_folder():
            assert not folders[0].exists()
            assert folders[1].is_dir()
        sessions[1].communicate("")
        assert not folders[1].exists()
        sessions[0].communicate()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_only_users_of_a_scratch_folder_are_ended() -> None:
    code = "import sys; sys.stdin.read()"
    with scratch_folder() as folder, scratch_folder() as other:
        users = [
            subprocess.Popen(
                [sys.executable, "-c", code, f"--logs={path}/logs"], stdin=subprocess.PIPE
            )
            for path in (folder, other)
        ]
        kill_users(folder)
        assert users[0].wait(10) == -signal.SIGKILL
        assert users[1].poll() is None
        for user in users:
            user.communicate()


def test_an_interrupt_that_was_swallowed_is_raised_again_when_asked() -> None:
    with terminate_as_interrupt():
        check_interrupted()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(KeyboardInterrupt):  # as a callback inside Ray does
                os.kill(os.getpid(), number)
                time.sleep(1)
            with pytest.raises(KeyboardInterrupt):
                check_interrupted()
    with terminate_as_interrupt():
        check_interrupted()
