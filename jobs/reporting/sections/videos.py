"""The videos of a run: accuracy of their frames, and counts and speed of each video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jobs.html import formats
from jobs.html.section import Section
from jobs.html.tabular import Column, Table, count_cell, name_cell, rate_cell, table
from jobs.inputs.video_pace import VideoPace
from jobs.reporting.examples.drawn import DrawnExampleSet
from jobs.reporting.examples.scan import Scan
from jobs.reporting.sections.headline import numbers_of
from jobs.rundir.audit import FrameCounts
from jobs.rundir.metrics_json import Metrics

NAME, TITLE = "videos", "Videos"


def videos_section(
    metrics: Metrics | None,
    videos: Mapping[str, FrameCounts],
    scan: Scan,
    pace: VideoPace,
    example_sets: Sequence[DrawnExampleSet],
) -> Section:
    """Accuracy of the frames, apart from that of images, and a table of the videos.

    ``metrics`` is None if the frames were not scored, or if the whole page is about them.
    """
    if not videos:
        return Section(name=NAME, title=TITLE, absent="This run has no videos.")
    num_frames = sum(counts.planned for counts in videos.values())
    lead = f"{formats.counted(len(videos), 'video')} with {formats.counted(num_frames, 'frame')}."
    if metrics is not None:
        lead += (
            " Their frames are scored like images, but separately. There are no intervals, "
            "since the frames of one video are similar."
        )
    return Section(
        name=NAME,
        title=TITLE,
        lead=lead,
        data={
            "numbers": () if metrics is None else numbers_of(metrics),
            "counts": () if metrics is None else _counts(metrics),
            "table": _table(videos, scan, pace),
            "example_sets": example_sets,
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
        "sampled_away": "annotated frames not sampled",
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
        Column(title="frames", hint="frames of the video in the run"),
        Column(title="quarantined", hint="frames that could not be decoded"),
        Column(title="missing"),
        Column(title="detections", hint=at),
        Column(
            title="frames/s", hint="of one worker; several workers at once process a video faster"
        ),
    )
    rows = [
        (
            name_cell(uri),
            count_cell(counts.planned),
            count_cell(counts.quarantined),
            count_cell(counts.missing),
            count_cell(scan.detections_of_videos[uri]),
            rate_cell(pace.frames_per_s(uri) if counts.ok else None),
        )
        for uri, counts in videos.items()
    ]
    return table("Videos", columns, rows)
