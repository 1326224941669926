"""The videos of a run: how well their frames are detected, and a line for each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.html import formats
from jobs.html.section import Section
from jobs.html.tabular import Cell, Column, Table, count_cell, name_cell, table
from jobs.reporting.examples.panels import DrawnPanel
from jobs.reporting.examples.scan import Scan
from jobs.reporting.sections.headline import numbers_of
from jobs.rundir.audit import FrameCounts
from jobs.rundir.metrics_json import Metrics
from jobs.rundir.video_pace import VideoPace

NAME, TITLE = "videos", "Videos"


def videos_section(
    metrics: Metrics | None,
    videos: Mapping[str, FrameCounts],
    scan: Scan,
    pace: VideoPace,
    panels: Sequence[DrawnPanel],
) -> Section:
    """What became of every video, and the numbers of their frames, apart from those of images.

    Args:
        metrics: of the frames; None where they were not scored, or are what the page is about.
        videos: of the run, by uri.
        scan: of its rows.
        pace: how fast each was.
        panels: of frames, drawn.
    """
    if not videos:
        return Section(name=NAME, title=TITLE, absent="There are none in this run.")
    num_frames = sum(counts.planned for counts in videos.values())
    lead = f"{formats.counted(len(videos), 'video')} with {formats.counted(num_frames, 'frame')}."
    if metrics is not None:
        lead += (
            " Their frames are scored as images are, and apart from them. There are no "
            "intervals: frames of one video are much alike."
        )
    return Section(
        name=NAME,
        title=TITLE,
        lead=lead,
        data={
            "numbers": () if metrics is None else numbers_of(metrics),
            "counts": () if metrics is None else _counts(metrics),
            "table": _table(videos, scan, pace),
            "panels": panels,
        },
    )


def _counts(metrics: Metrics) -> list[tuple[str, str]]:
    shown = {
        "frames": "frames scored",
        "objects": "annotated objects",
        "detections": "detections",
        "crowds": "crowd regions",
        "quarantined": "frames quarantined",
        "missing": "frames missing",
        "sampled_away": "annotated frames not asked for",
        "beyond_end": "annotated frames behind the end",
        "not_in_run": "annotated frames of other videos",
    }
    always = {"frames", "objects", "detections"}
    counts = metrics.counts
    return [
        (label, formats.count(counts.get(key, 0)))
        for key, label in shown.items()
        if key in always or counts.get(key, 0)
    ]


def _table(videos: Mapping[str, FrameCounts], scan: Scan, pace: VideoPace) -> Table:
    at = f"at scores from {scan.score:.2f} on"
    columns = (
        Column(title="video", is_text=True),
        Column(title="frames", hint="that the run was to look at"),
        Column(title="quarantined", hint="frames that could not be decoded"),
        Column(title="missing"),
        Column(title="detections", hint=at),
        Column(title="frames/s", hint="of one worker; several at once make a video faster"),
    )
    rows = [
        (
            name_cell(uri),
            count_cell(counts.planned),
            count_cell(counts.quarantined),
            count_cell(counts.missing),
            count_cell(scan.detections_of_videos[uri]),
            _rate(pace.frames_per_s(uri) if counts.ok else None),
        )
        for uri, counts in videos.items()
    ]
    return table("Every video", columns, rows)


def _rate(value: float | None) -> Cell:
    text = formats.UNDEFINED if value is None else formats.rate(value)
    return Cell(text=text, value=value)
