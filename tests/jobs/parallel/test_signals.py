import contextlib
import os
import signal
import sys
import threading
import time

import pytest

from jobs.parallel.signals import (
    check_interrupted,
    environment,
    kept_signal_handlers,
    quiet_stdout,
    terminate_as_interrupt,
)


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
