"""A watch over the processes without which the command's own Ray does no work.

Ray itself says nothing when its raylet dies, and waits for ever for a process that is stopped.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jobs.parallel.guard import RayLostError, end_lost

_LOOK_S = 1.0
_MAX_LOOKS_STOPPED = 10  # in a row: Ctrl-Z stops this process as well, and no look is taken
_GRACE_S = 20.0

_watches: list[RayWatch] = []


class RayWatch(threading.Thread):
    """Looks at processes, by their names, each second; a process that stays stopped is killed.

    A call to a Ray that has died may hang. So when ``check_ray`` could not end the command for
    some time, its guard is asked to.
    """

    def __init__(self, processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
        super().__init__(name="ray-watch", daemon=True)
        self._processes = processes
        self._looks_stopped = dict.fromkeys(processes, 0)
        self._is_over = threading.Event()

    def lost(self) -> str | None:
        """Return why Ray does no work any more; None while all processes run."""
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
                return f"Ray's {name} was ended {how}"
            if self._looks_stopped[name] >= _MAX_LOOKS_STOPPED:
                return f"Ray's {name} was stopped"
        return None

    def run(self) -> None:
        while not self._is_over.wait(_LOOK_S):
            self._look()
            if (reason := self.lost()) is not None:
                if not self._is_over.wait(_GRACE_S):
                    end_lost(reason)
                return

    def end(self) -> None:
        self._is_over.set()

    def _look(self) -> None:
        for name, process in self._processes.items():
            is_stopped = _state(process.pid) in {"T", "t"}
            self._looks_stopped[name] = self._looks_stopped[name] + 1 if is_stopped else 0
            if self._looks_stopped[name] >= _MAX_LOOKS_STOPPED:
                process.kill()  # so that calls to it fail, instead of waiting


@contextmanager
def watched(processes: Mapping[str, subprocess.Popen[bytes]]) -> Generator[None]:
    """Watch these processes during the block."""
    watch = RayWatch(processes)
    watch.start()
    _watches.append(watch)
    try:
        yield
    finally:
        _watches.remove(watch)
        watch.end()


@contextmanager
def raising_ray_lost() -> Generator[None]:
    """Let an error in the block say that the command's own Ray has died, where this caused it.

    Raises:
        RayLostError: with the reason.
    """
    try:
        yield
    except Exception:
        check_ray()
        raise


def check_ray() -> None:
    """Raise when the command's own Ray has died; a cluster that was joined is not looked at.

    Raises:
        RayLostError: with the reason.
    """
    for watch in _watches:
        if (reason := watch.lost()) is not None:
            raise RayLostError(reason)


def _state(pid: int) -> str:
    """Return the state that the kernel names by a letter; empty without ``/proc``."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
