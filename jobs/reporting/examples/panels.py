"""The images of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.html.section import Section
from jobs.html.thumbnail import Thumbnail
from jobs.reporting.examples.selection import Panel
from jobs.reporting.examples.thumbnails import Drawer


@dataclass(frozen=True, kw_only=True)
class DrawnPanel:
    """A panel whose images are drawn.

    Attributes:
        panel: what they have in common.
        thumbnails: those that could be drawn and have room.
        num_unreadable: those that could not be read here.
    """

    panel: Panel
    thumbnails: Sequence[Thumbnail]
    num_unreadable: int


def draw_panels(panels: Sequence[Panel], drawer: Drawer) -> list[DrawnPanel]:
    """Draw all images of all panels; what cannot be read is only counted."""
    drawn: list[DrawnPanel] = []
    for panel in panels:
        tried = [drawer.draw(choice) for choice in panel.choices]
        thumbnails = [thumbnail for thumbnail in tried if thumbnail is not None]
        drawn.append(
            DrawnPanel(
                panel=panel,
                thumbnails=thumbnails,
                num_unreadable=len(tried) - len(thumbnails),
            )
        )
    return drawn


def panels_section(panels: Sequence[DrawnPanel], *, is_judged: bool, num_left_out: int) -> Section:
    """Images that stand out.

    Args:
        panels: drawn.
        is_judged: whether they were chosen by ground truth, which is drawn on them then.
        num_left_out: images that the page has no room for.
    """
    name, title = "panels", "Images"
    if not any(panel.thumbnails for panel in panels):
        unreadable = sum(panel.num_unreadable for panel in panels)
        reason = (
            "None of the images could be read here: give --image-root DIR, the folder they lie "
            "in now."
            if unreadable
            else "There are no images to show."
        )
        return Section(name=name, title=title, absent=reason)
    return Section(
        name=name,
        title=title,
        lead="Select an image to enlarge it.",
        data={
            "panels": panels,
            "is_judged": is_judged,
            "num_left_out": num_left_out,
        },
    )


def without_last(panels: Sequence[DrawnPanel]) -> list[DrawnPanel]:
    """The panels without the last image of the longest of them."""
    longest = max(range(len(panels)), key=lambda i: (len(panels[i].thumbnails), i))
    return [
        DrawnPanel(
            panel=panel.panel,
            thumbnails=panel.thumbnails[:-1] if i == longest else panel.thumbnails,
            num_unreadable=panel.num_unreadable,
        )
        for i, panel in enumerate(panels)
    ]
