"""What a command writes as text, one result on stdout and the rest on stderr, and its exit code.

Every line for people goes through ``write_stderr``, log lines and Python's warnings too, and so no
name of a file can steer a terminal or look like a line of ours.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import traceback
from collections.abc import Generator
from typing import Any, Protocol, TextIO

import typer

from fcos_core.errors import FcosError, IncompleteRunError
from jobs.cli.streams import lost_output
from jobs.parallel.address_space import lack_of_memory
from jobs.printable import printable

_LONGEST_LINE = 4000

EXIT_DONE = 0  # a bug is 1, which is Python's own code for an exception that nothing caught
EXIT_CANNOT_WORK = 2
EXIT_INCOMPLETE = 3
EXIT_INTERRUPTED = 130


class JobResult(Protocol):
    """What every job's result offers the command line: itself as one JSON object."""

    def summary(self) -> dict[str, Any]: ...


@contextlib.contextmanager
def exit_codes(*, is_resumable: bool = False) -> Generator[None]:
    """Turn an error that answers the user's input, or lack of memory, into a line and an exit code.

    Any other error is a bug: its traceback is shown.

    Raises:
        Exit: with the code, once the line is written.
    """  # noqa: DOC501 -- what is no lack of memory passes through
    try:
        yield
    except IncompleteRunError as error:
        write_error(error)
        raise typer.Exit(EXIT_INCOMPLETE) from error
    except FcosError as error:
        write_error(error)
        raise typer.Exit(EXIT_CANNOT_WORK) from error
    except KeyboardInterrupt as error:
        resume = "; the same command goes on from here" if is_resumable else ""
        write_error(f"interrupted{resume}")
        raise typer.Exit(EXIT_INTERRUPTED) from error
    except (MemoryError, OSError, ImportError, RuntimeError) as error:
        lack = None if isinstance(error, typer.Exit) else lack_of_memory(error)
        if lack is None:
            raise
        write_error(lack)
        raise typer.Exit(EXIT_CANNOT_WORK) from error


def write_result(result: JobResult) -> int:
    """Write the result as one line of JSON on stdout, and on stderr why the job failed if it did.

    Returns:
        The exit code.
    """
    failure: str | None = getattr(result, "failure", None)
    if failure is not None:
        write_error(failure)
    write_stdout(json.dumps(_without_nan(result.summary())))
    return EXIT_DONE if failure is None else EXIT_INCOMPLETE


def write_error(message: object) -> None:
    """Write one line on stderr that says why the command failed."""
    write_stderr(f"error: {message}")


def write_stderr(message: object) -> None:
    """Write one line on stderr.

    What a terminal does not print is escaped, also a line end inside a name. A line that quotes an
    endless name loses its middle.
    """
    text = str(message).strip()
    if len(text) > _LONGEST_LINE:
        half = _LONGEST_LINE // 2
        text = f"{text[:half]} ... {text[-half:]}"
    _write_line(sys.stderr, printable(text))


class LogLines(logging.Handler):
    """Writes each record as one line on stderr, below it the traceback of an exception."""

    def emit(self, record: logging.LogRecord) -> None:
        write_stderr(record.getMessage())
        if record.exc_info:
            for line in "".join(traceback.format_exception(*record.exc_info)).splitlines():
                _write_line(sys.stderr, printable(line))


def write_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    """Write a warning of Python as one line; stands in for ``warnings.showwarning``."""
    write_stderr(f"{category.__name__}: {message}")


def write_stdout(text: str) -> None:
    """Write a line on stdout."""
    _write_line(sys.stdout, text)


def write_lost_output() -> None:
    """Write on stderr what stdout did not take; that is no failure of the work."""
    lost = lost_output()
    if lost is not None:
        text, reason = lost
        _write_line(sys.stderr, printable(f"stdout cannot be written ({reason}): {text.strip()}"))


def _write_line(stream: TextIO, line: str) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def _without_nan(value: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinities by null, because JSON has neither."""
    return {
        key: None if isinstance(item, float) and item - item != 0 else item
        for key, item in value.items()
    }
