"""What a command writes as text, one result on stdout and the rest on stderr, and its exit code."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Generator
from typing import Any, Protocol

import typer

from fcos_core.errors import FcosError, IncompleteRunError

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
    """Turn an error that answers the user's input into one line and an exit code.

    Any other error is a bug: its traceback is shown.

    Raises:
        Exit: with the code, once the line is written.
    """
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

    Control characters, as from a damaged file, are escaped, so that they cannot steer the terminal.
    A line that quotes an endless name loses its middle.
    """
    text = " ".join(str(message).split())
    if len(text) > _LONGEST_LINE:
        half = _LONGEST_LINE // 2
        text = f"{text[:half]} ... {text[-half:]}"
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """Escape the characters that a terminal does not print."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def write_stdout(text: str) -> None:
    """Write a line on stdout; a reader that has left, such as ``head``, is no error."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout.fileno())


def _discard(descriptor: int) -> None:
    """Let a stream lead nowhere, so that Python's own flush at exit does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _without_nan(value: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN and infinities by null, because JSON has neither."""
    return {
        key: None if isinstance(item, float) and item - item != 0 else item
        for key, item in value.items()
    }
