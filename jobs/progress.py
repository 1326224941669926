"""How far a run is, on stderr: a live bar on a terminal, plain timed lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

LINE_EVERY_S = 10.0
_LEAST_BAR = 10
_HOUR_S = 3600
_MINUTE_S = 60


class Pace:
    """Counts what is done, and tells from that when the rest will be.

    Args:
        total: rows of the whole run.
        done: rows that were there before.
        clock: seconds, from any beginning.
    """

    def __init__(self, total: int, done: int, *, clock: Callable[[], float]) -> None:
        self.total = total
        self.done = done
        self.quarantined = 0
        self._done_before = done
        self._clock = clock
        self._began = clock()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._began

    @property
    def num_new(self) -> int:
        """Rows done since the beginning."""
        return self.done - self._done_before

    @property
    def per_second(self) -> float | None:
        """Rows done per second; None before the first."""
        return self.num_new / self.seconds if self.num_new and self.seconds > 0 else None

    def add(self, *, rows: int, quarantined: int) -> None:
        """Count what was done now."""
        self.done += rows
        self.quarantined += quarantined

    def summary(self) -> str:
        """Say rate, time left and what could not be used, in few words."""
        if self.per_second is None:
            text = "starting"
        else:
            left_s = (self.total - self.done) / self.per_second
            text = f"{_rate(self.per_second)} images/s, {_duration(left_s)} left"
        return f"{text}, {self.quarantined} quarantined" if self.quarantined else text


class _Bar:
    """A pace as one line; on a narrow terminal the bar goes first, then the end of the text."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        pace, width = self._pace, options.max_width
        done, summary = f"{pace.done}/{pace.total}", pace.summary()
        bar_width = width - len(done) - len(summary) - 2
        if bar_width < _LEAST_BAR:
            yield Text(f"{done} {summary}"[:width], no_wrap=True, end="")
            return
        line = Table.grid(padding=(0, 1, 0, 0))
        bar = ProgressBar(total=max(1, pace.total), completed=pace.done, width=bar_width)
        line.add_row(done, bar, summary)
        yield line


class ProgressReport:
    """Shows a pace while a ``with`` block runs.

    Args:
        total: rows of the whole run.
        done: rows that were there before.
        job: whose lines these are.
        stream: where to; stderr by default.
        line_every_s: how often a plain line is written, where there is no terminal.
        clock: seconds, from any beginning.
    """

    def __init__(
        self,
        total: int,
        done: int,
        *,
        job: str = "detect",
        stream: TextIO | None = None,
        line_every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pace = Pace(total, done, clock=clock)
        self._job = job
        self._stream = sys.stderr if stream is None else stream
        self._line_every_s = line_every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write_lines, name="progress", daemon=True)
        self._live = _live(self.pace, self._stream) if self._stream.isatty() else None

    def __enter__(self) -> ProgressReport:
        if self._live is None:
            self._thread.start()
        else:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is None:
            self._over.set()
            self._thread.join()
            self._write_line()
        else:
            self._live.stop()

    def add(self, *, rows: int, quarantined: int) -> None:
        """Count what was done now."""
        self.pace.add(rows=rows, quarantined=quarantined)

    def _write_lines(self) -> None:
        while not self._over.wait(self._line_every_s):
            self._write_line()

    def _write_line(self) -> None:
        pace = self.pace
        percent = 100 * pace.done // pace.total if pace.total else 100
        self._stream.write(
            f"{self._job}: {pace.done}/{pace.total} images ({percent} %), {pace.summary()}, "
            f"{_duration(pace.seconds)} elapsed\n"
        )
        self._stream.flush()


def _live(pace: Pace, stream: TextIO) -> Live:
    # stdout is for results, and is not to be drawn upon.
    console = Console(file=stream)
    return Live(_Bar(pace), console=console, refresh_per_second=4, redirect_stdout=False)


def _rate(per_second: float) -> str:
    return f"{per_second:.3g}" if per_second < 100 else f"{per_second:.0f}"  # noqa: PLR2004


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // _HOUR_S, whole % _HOUR_S // _MINUTE_S
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {whole % _MINUTE_S:02d}s" if minutes else f"{whole}s"
