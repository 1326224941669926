"""Example images: the best, the worst, false positives and missed objects, or a sample."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.html.section import Section
from jobs.reporting.examples.drawn import DrawnExampleSet

NAME, TITLE = "examples", "Example images"


def examples_section(
    drawn: Sequence[DrawnExampleSet], *, has_ground_truth: bool, num_left_out: int
) -> Section:
    """Example images with their detections, and with their ground truth if there is any."""
    if not any(one.thumbnails for one in drawn):
        reason = (
            "No example image could be read. If the images have moved, give --image-root DIR."
            if any(one.num_unreadable for one in drawn)
            else "There are no images to show."
        )
        return Section(name=NAME, title=TITLE, absent=reason)
    return Section(
        name=NAME,
        title=TITLE,
        lead="Select an image to enlarge it.",
        data={
            "example_sets": drawn,
            "has_ground_truth": has_ground_truth,
            "num_left_out": num_left_out,
        },
    )
