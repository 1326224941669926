"""How the commands speak: results on stdout, everything else on stderr, and the exit code."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import typer

from fcos_core.errors import FcosError, IncompleteRunError

if TYPE_CHECKING:
    from rich.table import Table

    from jobs.bpr import BprResult
    from jobs.evaluate import EvaluateResult

_LONGEST_LINE = 4000
_NUM_METRICS = 12
_LONGEST_NAME = 32

EXIT_DONE = 0  # a bug is 1, which is Python's own code for an exception that nobody caught
EXIT_CANNOT_WORK = 2
EXIT_INCOMPLETE = 3
EXIT_INTERRUPTED = 130


class JobResult(Protocol):
    """What every job's result offers the command line."""

    def summary(self) -> dict[str, Any]:
        """Say the result in one JSON object."""
        ...


@contextlib.contextmanager
def exit_codes(*, resumable: bool = False) -> Generator[None]:
    """Turn the errors that answer somebody's input into one line and an exit code.

    Any other error is a bug, and its traceback is what helps.

    Args:
        resumable: whether the same command goes on where an interrupted one ended.

    Raises:
        Exit: with the code, once the line is written.
    """
    try:
        yield
    except IncompleteRunError as error:
        say_error(error)
        raise typer.Exit(EXIT_INCOMPLETE) from error
    except FcosError as error:
        say_error(error)
        raise typer.Exit(EXIT_CANNOT_WORK) from error
    except KeyboardInterrupt as error:
        say_error("interrupted" + ("; the same command goes on from here" if resumable else ""))
        raise typer.Exit(EXIT_INTERRUPTED) from error


def say_result(result: JobResult) -> int:
    """Write the result's line of JSON, and why it is no success if it is none.

    Args:
        result: of a job.

    Returns:
        The exit code.
    """
    failure: str | None = getattr(result, "failure", None)
    if failure is not None:
        say_error(failure)
    write_line(json.dumps(_without_nan(result.summary())))
    return EXIT_DONE if failure is None else EXIT_INCOMPLETE


def say_error(message: object) -> None:
    """Write one line on stderr that says why the command failed."""
    say_line(f"error: {message}")


def say_line(message: object) -> None:
    """Write one line on stderr; what would steer a terminal, as from a damaged file, is escaped.

    Of a line that quotes a name without end, the middle is left out.
    """
    text = " ".join(str(message).split())
    if len(text) > _LONGEST_LINE:
        half = _LONGEST_LINE // 2
        text = f"{text[:half]} ... {text[-half:]}"
    sys.stderr.write(f"{_printable(text)}\n")
    sys.stderr.flush()


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def write_line(text: str) -> None:
    """Write a line on stdout; a reader that has gone is no error of ours."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _silence(sys.stdout.fileno())


def _silence(descriptor: int) -> None:
    """Let a stream lead nowhere, so that Python's own flush at exit does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def say_metrics(result: EvaluateResult) -> None:
    """Show the twelve numbers and the counts behind them on stderr, of videos apart."""
    from rich.console import Console

    console = Console(stderr=True)
    metrics, video = result.metrics, result.metrics.get("video")
    if metrics["counts"]["images"] or not video:
        console.print(_numbers("COCO metrics (boxes)", result.headline))
        if "comparison" in metrics:
            console.print(_comparison(metrics["comparison"]))
        console.print(_counted(metrics["counts"]), markup=False, highlight=False)
    if video:
        console.print(_numbers("COCO metrics (boxes), frames of videos", result.video))
        if "comparison" in video:
            console.print(_compared_frames(video["comparison"]))
        console.print(_counted(video["counts"]), markup=False, highlight=False)


def _numbers(title: str, values: Mapping[str, float]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    names = list(values)[:_NUM_METRICS]
    half = len(names) // 2
    for heading in ("average precision", "", "average recall", ""):
        table.add_column(heading, justify="left" if heading else "right")
    for precision, recall in zip(names[:half], names[half:], strict=True):
        table.add_row(precision, _shown(values[precision]), recall, _shown(values[recall]))
    return table


def _comparison(told: Mapping[str, Any]) -> Table:
    """Every number under both runs; an interval without 0 in it is a difference to believe."""
    rows = {
        name: [
            _shown(one),
            _shown(other),
            _signed(difference["difference"]),
            f"{_signed(difference['low'])} to {_signed(difference['high'])}",
        ]
        for (name, (one, other)), difference in zip(
            told["numbers"].items(), told["overall"].values(), strict=True
        )
    }
    headings = ["", "this run", "the other", "difference", f"{told['confidence']:.0%} interval"]
    return _table("Against the other run", headings, rows)


def _compared_frames(told: Mapping[str, Any]) -> Table:
    """Every number under both runs."""
    rows = {name: [_shown(value) for value in both] for name, both in told["numbers"].items()}
    return _table("Against the other run, frames of videos", ["", "this run", "the other"], rows)


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def say_videos(summary: Mapping[str, Any]) -> None:
    """Show what became of each video, and how fast, on stderr; nothing where there are none."""
    told: Sequence[Mapping[str, Any]] = summary.get("per_video", ())
    if not told:
        return
    from rich.console import Console
    from rich.markup import escape

    rows = {
        escape(_printable(one["video"][-_LONGEST_NAME:])): [
            str(one["frames"]),
            str(one["quarantined"]),
            str(one["missing"]),
            "-" if one["frames_per_s"] is None else f"{one['frames_per_s']:.1f}",
        ]
        for one in told[:_MAX_SHOWN]
    }
    headings = ["video", "frames", "quarantined", "missing", "frames/s"]
    console = Console(stderr=True)
    console.print(_table("Videos, frames/s of one worker", headings, rows), highlight=False)
    if summary["videos"] > len(rows):
        console.print(f"and {summary['videos'] - len(rows)} videos more", highlight=False)


def say_bpr(result: BprResult) -> None:
    """Show what each rule recalls, and why it loses the rest, on stderr."""
    from rich.console import Console

    console = Console(stderr=True)
    rules = result.rules
    areas = [group["name"] for group in next(iter(rules.values()))["by_area"]]
    recalled = {
        name: [
            _percent(rule["bpr"]),
            *(_percent(group["bpr"]) for group in rule["by_area"]),
            _percent(rule["ambiguous_ratio"]),
            _percent(rule["ambiguous_ratio_cross_class"]),
        ]
        for name, rule in rules.items()
    }
    headings = ["all", *areas, "ambiguous", "two classes"]
    console.print(_table("Best possible recall, %", ["rule", *headings], recalled))
    causes = [cause for cause in _CAUSES if any(rule["lost"].get(cause) for rule in rules.values())]
    lost = {
        name: [
            str(rule["total"] - rule["recalled"]),
            *(str(rule["lost"].get(cause, "")) for cause in causes),
        ]
        for name, rule in rules.items()
    }
    total = next(iter(rules.values()))["total"]
    headings = ["rule", "lost", *(_CAUSES[cause] for cause in causes)]
    console.print(_table(f"Lost of {total} boxes", headings, lost))
    document, invalid = result.document, result.document["invalid"]
    console.print(
        f"{document['images']} images; {document['crowds']} crowd regions left out",
        highlight=False,
    )
    for reason in invalid["entries"][:_MAX_SHOWN]:
        console.print(f"left out: {reason}", markup=False, highlight=False)
    if invalid["count"] > _MAX_SHOWN:
        console.print(f"left out: {invalid['count'] - _MAX_SHOWN} entries more", highlight=False)


_MAX_SHOWN = 10
_CAUSES = {
    "no_location": "none inside",
    "out_of_range": "out of range",
    "center_empty": "none near centre",
    "shadowed": "taken by others",
    "low_iou": "low IoU",
}


def _table(title: str, headings: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="right" if i else "left", no_wrap=not i)
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _percent(value: float | None) -> str:
    if value is None:
        return ""
    return "-" if value < 0 else f"{100 * value:.2f}"


def _counted(counts: Mapping[str, int]) -> str:
    always = ("images", "frames", "objects", "detections")
    return ", ".join(
        f"{count} {(name[:-1] if count == 1 and name in _NOUNS else name).replace('_', ' ')}"
        for name, count in counts.items()
        if count or name in always
    )


_NOUNS = {"images", "frames", "videos", "objects", "crowds", "detections"}


def _shown(value: float) -> str:
    return "undefined" if value < 0 else f"{value:.4f}"


def _without_nan(value: dict[str, Any]) -> dict[str, Any]:
    """Keep the line JSON: infinities and NaN, which JSON has not, become null."""
    return {
        key: None if isinstance(item, float) and item - item != 0 else item
        for key, item in value.items()
    }
