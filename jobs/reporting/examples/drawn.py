"""Example images, drawn as thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jobs.reporting.examples.selection import ExampleSet
from jobs.reporting.examples.thumbnails import Thumbnail, ThumbnailRenderer


@dataclass(frozen=True, kw_only=True)
class DrawnExampleSet:
    """An example set with thumbnails: of images that can be read and that the page has room for."""

    example_set: ExampleSet
    thumbnails: Sequence[Thumbnail]
    num_unreadable: int


def draw_example_sets(
    example_sets: Sequence[ExampleSet], renderer: ThumbnailRenderer
) -> list[DrawnExampleSet]:
    """Draw all examples; those that cannot be read are only counted."""
    drawn: list[DrawnExampleSet] = []
    for example_set in example_sets:
        tried = [renderer.draw(example) for example in example_set.examples]
        thumbnails = [thumbnail for thumbnail in tried if thumbnail is not None]
        drawn.append(
            DrawnExampleSet(
                example_set=example_set,
                thumbnails=thumbnails,
                num_unreadable=len(tried) - len(thumbnails),
            )
        )
    return drawn


def without_last(drawn: Sequence[DrawnExampleSet]) -> list[DrawnExampleSet]:
    """The same sets, without the last image of the one with most images."""
    longest = max(range(len(drawn)), key=lambda i: (len(drawn[i].thumbnails), i))
    return [
        replace(one, thumbnails=one.thumbnails[:-1]) if i == longest else one
        for i, one in enumerate(drawn)
    ]
