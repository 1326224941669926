"""Tables and the progress bar on a terminal, which only they may colour and move about on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from jobs.printable import printable_lines


class PrintableConsole(Console):
    """A console that escapes what steers a terminal in every text that it is given to show.

    A stream that itself escapes what is written to it has a way past that, ``unescaped``.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(file=getattr(stream, "unescaped", stream))

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as rich does, with the text of each segment escaped."""
        return map(_escaped, super().render(renderable, options))


def _escaped(segment: Segment) -> Segment:
    return segment if segment.control else segment._replace(text=printable_lines(segment.text))
