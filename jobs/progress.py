"""Progress of a job on stderr: a live bar on a terminal, elsewhere a plain line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.console import PrintableConsole
from jobs.printable import printable
from jobs.waiting import LastingStates

LINE_EVERY_S = 10.0
_LEAST_BAR = 10
_HOUR_S = 3600
_MINUTE_S = 60


class Pace:
    """Counts rows, and estimates from their rate when the last one will be done.

    ``done`` rows were done before. A row may stand for several images, such as a training step's
    batch. The clock returns seconds since any fixed moment.
    """

    def __init__(
        self, total: int, done: int, *, images_per_row: int = 1, clock: Callable[[], float]
    ) -> None:
        self.total = total
        self.done = done
        self.quarantined = 0
        self.note = ""
        self.details = ""
        self.wait = ""
        self._images_per_row = images_per_row
        self._done_before = done
        self._clock = clock
        self._began = clock()

    @property
    def seconds(self) -> float:
        return self._clock() - self._began

    @property
    def num_new(self) -> int:
        return self.done - self._done_before

    @property
    def per_second(self) -> float | None:
        """Rows per second since the beginning; None before the first row."""
        return self.num_new / self.seconds if self.num_new > 0 and self.seconds > 0 else None

    def summary(self, *, has_details: bool = False) -> str:
        """Return note, rate, time left and the number of quarantined rows, in few words."""
        parts = [f"{self.note} ({self.details})" if has_details and self.details else self.note]
        if self.wait:
            parts.append(self.wait)
        elif self.per_second is None:
            parts.append("starting")
        if self.per_second is not None:
            left_s = (self.total - self.done) / self.per_second
            parts.append(f"{_rate(self.per_second * self._images_per_row)} images/s")
            parts.append(f"{_duration(left_s)} left")
        if self.quarantined:
            parts.append(f"{self.quarantined} quarantined")
        return ", ".join(filter(None, parts))


class _Bar:
    """One line of a terminal; a narrow one leaves out the bar, then the end of the text."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console
        pace, width = self._pace, options.max_width
        done, summary = f"{pace.done}/{pace.total}", printable(pace.summary())
        bar_width = width - len(done) - len(summary) - 2
        if bar_width < _LEAST_BAR:
            yield Text(f"{done} {summary}"[:width], no_wrap=True, end="")
            return
        line = Table.grid(padding=(0, 1, 0, 0))
        bar = ProgressBar(total=max(1, pace.total), completed=pace.done, width=bar_width)
        line.add_row(done, bar, Text(summary))  # a bare string would be read as markup
        yield line


class ProgressReport:
    """Shows progress while a ``with`` block runs.

    ``total``, ``done``, ``images_per_row`` and ``clock`` are those of ``Pace``. Where the stream
    (by default stderr) is no terminal, a line that begins with the job's name comes every
    ``line_every_s`` seconds; ``unit`` is its plural noun for the rows.
    """

    def __init__(
        self,
        total: int,
        done: int,
        *,
        job: str = "detect",
        unit: str = "images",
        images_per_row: int = 1,
        stream: TextIO | None = None,
        line_every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pace = Pace(total, done, images_per_row=images_per_row, clock=clock)
        self._job = job
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._line_every_s = line_every_s
        self._waits = LastingStates(clock)
        self._is_over = threading.Event()
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
            self._is_over.set()
            self._thread.join()
            self._write_progress()
        else:
            self._live.stop()

    def add(self, *, rows: int, quarantined: int = 0, note: str = "", details: str = "") -> None:
        """Count rows that are done, some of them quarantined.

        ``note`` is shown beside the rate and replaces the note before; ``details`` are added to it
        in plain lines, which have more space.
        """
        self.pace.done += rows
        self.pace.quarantined += quarantined
        self.pace.note, self.pace.details = note, details

    def show_waits(self, waits: Mapping[str, Callable[[], str]]) -> None:
        """Say why workers wait, once that lasts for ten seconds: beside the bar, else in lines.

        Args:
            waits: by the state of the workers that wait, what gives the words; without states
                that are over. The lines about a state come seldom, see ``jobs.waiting``.
        """
        lasting, mentioned = self._waits.update(waits)
        if self._live is not None:
            self.pace.wait = "; ".join(waits[state]() for state in lasting)
            return
        for state in mentioned:
            self.write(f"{self._job}: {waits[state]()}")

    def write(self, line: str) -> None:
        """Write a line of its own at once, above the bar."""
        if self._live is not None:
            self._live.console.print(printable(line), highlight=False, markup=False)
        else:
            self._stream.write(f"{printable(line)}\n")
            self._stream.flush()

    def _write_lines(self) -> None:
        while not self._is_over.wait(self._line_every_s):
            self._write_progress()

    def _write_progress(self) -> None:
        pace = self.pace
        percent = 100 * pace.done // pace.total if pace.total else 100
        self.write(
            f"{self._job}: {pace.done}/{pace.total} {self._unit} ({percent} %), "
            f"{pace.summary(has_details=True)}, {_duration(pace.seconds)} elapsed"
        )


def _live(pace: Pace, stream: TextIO) -> Live:
    # stdout is for results, never for the bar.
    return Live(
        _Bar(pace), console=PrintableConsole(stream), refresh_per_second=4, redirect_stdout=False
    )


def _rate(per_second: float) -> str:
    return f"{per_second:.3g}" if per_second < 100 else f"{per_second:.0f}"  # noqa: PLR2004


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // _HOUR_S, whole % _HOUR_S // _MINUTE_S
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {whole % _MINUTE_S:02d}s" if minutes else f"{whole}s"
