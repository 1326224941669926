"""The guard of a command: a small process that starts it in a child and passes on how it ended.

When its cluster no longer answers, Ray's C++ ends a process by ``_exit(1)``, from a thread of its
own: no code in that process can prevent this or say why. Its guard can.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from fcos_core.errors import ConfigError, IncompleteRunError
from jobs.parallel import address_space
from jobs.parallel.signals import terminate_as_interrupt

_log = logging.getLogger(__name__)

_MAX_STARTS = 3
_PR_SET_PDEATHSIG = 1
_EXIT_CODE_OF_RAY = 1
_EXIT_CODE_OF_LOST = 3
_DONE, _LOST, _ENDED = b"done ", b"lost ", b"ended\n"  # what a child reports to its guard
_LONGEST_REPORT = 4096  # a pipe takes this much at once
_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGTRAP, signal.SIGILL}
_ENDING = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
_PASSED_ON = {*_ENDING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCONT}

_pipes: list[int] = []  # to the guard of this process, if it has one
_codes: list[int] = []  # of the work, once it is done


class RayLostError(IncompleteRunError):
    """The command's own Ray has died: its guard starts it again, without a guard it is exit 3."""


class _Child(NamedTuple):
    pid: int
    pipe: int


def guarded(command: Callable[[], int]) -> int:
    """Run a command in a child of this process, and start it again when its own Ray has died.

    Like ``os.fork`` this returns in both processes: in the child what the command returns, and in
    this one the same number once the child has ended. A signal to this process reaches the child, a
    signal that ends the child ends this process too, and the end of this process ends the child.
    Call it before threads are started, and do nothing but end the process afterwards.

    Where the kernel cannot end a child with its parent, which is everywhere but on Linux, the
    command runs in this process.

    Args:
        command: may be given again after any end, and then goes on.

    Raises:
        IncompleteRunError: Ray has ended the command, or has died each time.
        ConfigError: the command has crashed, and a limit of virtual memory may be why.
        KeyboardInterrupt: a signal came before the command was started again.
    """
    if sys.platform != "linux":
        return command()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an ignored one would hide how the child ends
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED_ON, signal.SIGCHLD})
    lost = ""
    for _ in range(_MAX_STARTS):
        if lost:
            if signal.sigpending() & _ENDING:
                raise KeyboardInterrupt
            _log.warning("%s; the command is started again", lost)
        child = _fork()
        if child is None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            return _run(command)
        status = _wait(child.pid)
        report = _read(child.pipe)
        if not report.startswith(_LOST):
            return _pass_on(status, report)
        lost = report.removeprefix(_LOST).decode(errors="replace")
    raise IncompleteRunError(
        f"{lost}, and so {_MAX_STARTS} times in a row; the same command goes on from here"
    )


def done(code: int) -> None:
    """Tell the guard of this process, if it has one, that the work is done with this exit code.

    It is then the exit code even where Ray hangs or ends this process while it is shut down.
    """
    _tell(b"%s%d\n" % (_DONE, code))
    _codes.append(code)


def end_lost(reason: str) -> None:
    """End this process at once, if it has a guard: its own Ray has died, and a call to it hangs."""
    if _pipes and not _codes:
        _tell(_LOST + reason.encode())
        os._exit(_EXIT_CODE_OF_LOST)


def end_done() -> None:
    """End this process at once, if it has a guard and is done: Ray does not let it end."""
    if _pipes and _codes:
        sys.stdout.flush()
        sys.stderr.flush()
        _tell(_ENDED)
        os._exit(_codes[-1])


def _fork() -> _Child | None:
    """Make the child; return None in the child."""
    guard = os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return _Child(pid, reader)
    import ctypes  # only where it is needed: `fcos --help` does not wait for it

    os.close(reader)
    _pipes[:] = [writer]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != guard:  # it died before the call
        os._exit(_EXIT_CODE_OF_LOST)
    return None


def _run(command: Callable[[], int]) -> int:
    report = _ENDED
    try:
        with terminate_as_interrupt():
            return command()
    except RayLostError as error:
        report = _LOST + str(error).encode()
        return _EXIT_CODE_OF_LOST
    finally:
        _tell(report)


def _tell(report: bytes) -> None:
    for pipe in _pipes:
        with suppress(OSError):  # the guard was killed, and the kernel ends this process
            os.write(pipe, report[:_LONGEST_REPORT])


def _wait(child: int) -> int:
    """Pass signals on until the child has ended; return its status."""
    while True:
        came = signal.sigwaitinfo({*_PASSED_ON, signal.SIGCHLD})
        if came.si_signo == signal.SIGCHLD:
            # As the first process of a container this one also gets the children of dead others.
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    return ended[1]
            continue
        if came.si_code <= 0:  # from a process; a terminal has sent it to the child as well
            os.kill(child, came.si_signo)
        if came.si_signo == signal.SIGTSTP:  # stop like the child, if the kernel allows it
            os.kill(os.getpid(), signal.SIGTSTP)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})


def _read(pipe: int) -> bytes:
    """Return what the child reported; a process that it left behind may still hold the pipe."""
    os.set_blocking(pipe, False)
    try:
        return os.read(pipe, _LONGEST_REPORT)
    except BlockingIOError:
        return b""
    finally:
        os.close(pipe)


def _pass_on(status: int, report: bytes) -> int:
    """End as the child did, or say that Ray ended it, or a limit of memory.

    Raises:
        IncompleteRunError: Ray ended it.
    """
    _refuse_crash(status, report)
    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        if code != _EXIT_CODE_OF_RAY or report.endswith(_ENDED):
            return code
        if report.startswith(_DONE):
            return int(report.removeprefix(_DONE))
        raise IncompleteRunError(
            "Ray has ended the command, since its cluster does not answer; the same command goes "
            "on from here"
        )
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the child has left its own
    with suppress(OSError):  # SIGKILL
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    return 128 + number  # the first process of a container does not die of it


def _refuse_crash(status: int, report: bytes) -> None:
    """Say what has crashed the child where a limit of virtual memory may be why.

    Raises:
        ConfigError: there is such a limit, and the child has not ended by itself.
    """
    remedy = address_space.suspect()
    code = os.waitstatus_to_exitcode(status)
    if remedy is None or report.startswith(_DONE) or report.endswith(_ENDED):
        return
    if code == _EXIT_CODE_OF_RAY:  # OpenBLAS ends a process like Ray
        raise ConfigError(f"the command has ended without a word: {remedy}")
    if -code in _CRASHES:
        raise ConfigError(f"the command has died of {signal.Signals(-code).name}: {remedy}")
