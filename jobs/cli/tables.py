"""Tables on stderr that show a person what a command found."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from jobs.console import PrintableConsole
from jobs.printable import printable

if TYPE_CHECKING:
    from jobs.bpr import BprResult
    from jobs.evaluate import EvaluateResult

_NUM_METRICS = 12
_LONGEST_NAME = 32
_MAX_SHOWN = 10
_NOUNS = {"images", "frames", "videos", "objects", "crowds", "detections"}
_CAUSES = {
    "no_location": "no location inside",
    "out_of_range": "out of range",
    "center_empty": "none near centre",
    "shadowed": "taken by other boxes",
    "low_iou": "low IoU",
}


def show_metrics(result: EvaluateResult) -> None:
    """Show the twelve metrics and the counts behind them, separately for images and frames."""
    console = PrintableConsole(sys.stderr)
    metrics, video = result.metrics, result.metrics.get("video")
    if metrics["counts"]["images"] or not video:
        console.print(_metrics("COCO metrics (boxes)", result.headline))
        if "comparison" in metrics:
            console.print(_comparison(metrics["comparison"]))
        console.print(_counts(metrics["counts"]), markup=False, highlight=False)
    if video:
        console.print(_metrics("COCO metrics (boxes), frames of videos", result.video))
        if "comparison" in video:
            console.print(_comparison_of_frames(video["comparison"]))
        console.print(_counts(video["counts"]), markup=False, highlight=False)


def show_videos(summary: Mapping[str, Any]) -> None:
    """Show the rows and the speed of each video; nothing where the summary has none."""
    videos: Sequence[Mapping[str, Any]] = summary.get("per_video", ())
    if not videos:
        return
    rows = [
        [
            _shortened(video["video"]),
            str(video["frames"]),
            str(video["quarantined"]),
            str(video["missing"]),
            "-" if video["frames_per_s"] is None else f"{video['frames_per_s']:.1f}",
        ]
        for video in videos[:_MAX_SHOWN]
    ]
    headings = ["video", "frames", "quarantined", "missing", "frames/s"]
    console = PrintableConsole(sys.stderr)
    console.print(_table("Videos, frames/s of one worker", headings, rows), highlight=False)
    num_more = summary["videos"] - len(rows)
    if num_more:
        console.print(f"and {num_more} more video{'' if num_more == 1 else 's'}", highlight=False)


def _shortened(uri: str) -> str:
    """The end of a uri, which holds the file's name; a cut is marked."""
    shown = printable(uri)
    return shown if len(shown) <= _LONGEST_NAME else f"…{shown[1 - _LONGEST_NAME :]}"


def show_recall(result: BprResult) -> None:
    """Show the best possible recall of each rule, and why the other boxes are lost."""
    console = PrintableConsole(sys.stderr)
    rules = result.rules
    areas = [group["name"] for group in next(iter(rules.values()))["by_area"]]
    recalled = [
        [
            name,
            _percent(rule["bpr"]),
            *(_percent(group["bpr"]) for group in rule["by_area"]),
            _percent(rule["ambiguous_ratio"]),
            _percent(rule["ambiguous_ratio_cross_class"]),
        ]
        for name, rule in rules.items()
    ]
    headings = ["all", *areas, "ambiguous locations", "of two classes"]
    console.print(_table("Best possible recall, %", ["rule", *headings], recalled))
    causes = [cause for cause in _CAUSES if any(rule["lost"].get(cause) for rule in rules.values())]
    lost = [
        [
            name,
            str(rule["total"] - rule["recalled"]),
            *(str(rule["lost"].get(cause, "")) for cause in causes),
        ]
        for name, rule in rules.items()
    ]
    total = next(iter(rules.values()))["total"]
    headings = ["rule", "lost", *(_CAUSES[cause] for cause in causes)]
    console.print(_table(f"Lost of {total} boxes", headings, lost))
    document, invalid = result.document, result.document["invalid"]
    console.print(
        f"{document['images']} images; {document['crowds']} crowd regions left out",
        highlight=False,
    )
    for reason in invalid["entries"][:_MAX_SHOWN]:
        console.print(
            f"left out: {printable(reason)}", markup=False, highlight=False, soft_wrap=True
        )
    if invalid["count"] > _MAX_SHOWN:
        console.print(f"left out: {invalid['count'] - _MAX_SHOWN} more entries", highlight=False)


def _metrics(title: str, values: Mapping[str, float]) -> Table:
    table = Table(title=title, title_justify="left")
    names = list(values)[:_NUM_METRICS]
    half = len(names) // 2
    for heading in ("average precision", "", "average recall", ""):
        table.add_column(heading, justify="left" if heading else "right")
    for precision, recall in zip(names[:half], names[half:], strict=True):
        table.add_row(precision, _metric(values[precision]), recall, _metric(values[recall]))
    return table


def _comparison(comparison: Mapping[str, Any]) -> Table:
    """Show each metric of both runs, with the interval of their difference."""
    rows = [
        [
            name,
            _metric(one),
            _metric(other),
            _signed(difference["difference"]),
            f"{_signed(difference['low'])} to {_signed(difference['high'])}",
        ]
        for (name, (one, other)), difference in zip(
            comparison["numbers"].items(), comparison["overall"].values(), strict=True
        )
    ]
    interval = f"{comparison['confidence']:.0%} interval"
    headings = ["", "this run", "other run", "difference", interval]
    return _table("Compared with the other run", headings, rows)


def _comparison_of_frames(comparison: Mapping[str, Any]) -> Table:
    rows = [[name, *map(_metric, both)] for name, both in comparison["numbers"].items()]
    title = "Compared with the other run, frames of videos"
    return _table(title, ["", "this run", "other run"], rows)


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Make a table; on a narrow terminal names and headings give way, numbers are never cut."""
    table = Table(title=title, title_justify="left")
    for i, heading in enumerate(headings):
        width = max((len(row[i]) for row in rows), default=0) if i else None
        table.add_column(heading, justify="right" if i else "left", min_width=width)
    for row in rows:
        table.add_row(*map(Text, row))  # a bare string would be read as markup
    return table


def _counts(counts: Mapping[str, int]) -> str:
    always = ("images", "frames", "objects", "detections")
    return ", ".join(
        f"{count} {(name[:-1] if count == 1 and name in _NOUNS else name).replace('_', ' ')}"
        for name, count in counts.items()
        if count or name in always
    )


def _metric(value: float) -> str:
    return "undefined" if value < 0 else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4f}"


def _percent(value: float | None) -> str:
    if value is None:
        return ""
    return "-" if value < 0 else f"{100 * value:.2f}"
