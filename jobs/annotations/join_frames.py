"""Which annotated image each frame of a run's videos is: by ``video`` and ``frame_index``.

``video`` is matched to a video's uri as a ``file_name`` is to an image's, and each frame that the
run planned must have exactly one entry. Of a video that could not be used at all, every annotated
frame counts as looked at without success, as a broken image does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from fcos_core.errors import ConfigError
from jobs.annotations.batches import BoolArray
from jobs.annotations.json_columns import Int64Array
from jobs.annotations.name_matching import (
    MAX_EXAMPLES,
    Examples,
    explain,
    explain_matches,
    match_suffixes,
    suffix_of,
)
from jobs.annotations.video_frames import FrameEntries
from jobs.rundir.rows import ManifestItem
from jobs.rundir.sampled_frames import EVERY_FRAME

_PER_VIDEO = 2**31  # more than any frame's place


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameJoin:
    """Frames of a run and the annotated images they are, in manifest order.

    Attributes:
        image_ids: the run's, unique; negative for frames of videos that could not be used, for
            which it has no rows.
        annotated_ids: the id of the same frame in the annotation file, unique.
        shards: the shard of each, never falling.
        num_videos: number of videos that have these frames.
        num_sampled_away: annotated frames of these videos that sampling left out of the run.
        num_beyond_end: annotated frames that these videos do not have, as far as the run could see.
        num_not_in_run: annotated frames of other videos.
        is_of_run: for each entry that is a frame, whether its video is the run's.
    """

    image_ids: Int64Array
    annotated_ids: Int64Array
    shards: Int64Array
    num_videos: int
    num_sampled_away: int
    num_beyond_end: int
    num_not_in_run: int
    is_of_run: BoolArray


def join_frames(
    items: Sequence[ManifestItem], uri: str, entries: FrameEntries, *, taken: Int64Array
) -> FrameJoin:
    """Find the annotated image of every frame of a run; ``items`` are its segments.

    ``taken`` has the ids of the file's images that are images of the run. A ``ConfigError`` says
    which video or frame has no entry, or could have several.
    """
    index = _Index(uri, entries, items)
    parts = [*index.planned(items), *index.lost(items)]
    parts.sort(key=lambda part: part.shard)
    sizes = [len(part.rows) for part in parts]
    annotated_ids = entries.ids[_joined([part.rows for part in parts])]
    _require_apart(uri, annotated_ids, taken)

    is_left = ~np.isin(entries.ids, np.concatenate([annotated_ids, taken]))
    is_of_run = index.is_of({item.uri for item in items})
    is_sampled = index.is_of({i.uri for i in items if i.sampling not in {None, EVERY_FRAME}})
    return FrameJoin(
        image_ids=_joined([part.image_ids for part in parts]),
        annotated_ids=annotated_ids,
        shards=np.repeat(np.array([part.shard for part in parts], np.int64), sizes),
        num_videos=len({item.uri for item in items}),
        num_sampled_away=int((is_left & is_sampled).sum()),
        num_beyond_end=int((is_left & is_of_run & ~is_sampled).sum()),
        num_not_in_run=int((is_left & ~is_of_run & ~entries.is_image).sum()),
        is_of_run=is_of_run,
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """Frames of one item: their entries, and the image ids of their rows."""

    shard: int
    rows: Int64Array
    image_ids: Int64Array


class _Index:
    """The entries of an annotation file by video and place; ``items`` cover all videos of a run."""

    def __init__(self, uri: str, entries: FrameEntries, items: Sequence[ManifestItem]) -> None:
        self._uri = uri
        suffixes = [suffix_of(name) for name in entries.videos]
        numbers = {suffix: number for number, suffix in enumerate(dict.fromkeys(suffixes))}
        uris = list(dict.fromkeys(item.uri for item in items))
        matches = match_suffixes(uris, dict.fromkeys(numbers, 1))
        if matches.unmatched or matches.ambiguous:
            whole = f"{len(uris)} videos"
            raise ConfigError(explain_matches(uri, whole, "video", matches, entries.videos))
        self._number_of = {u: numbers[s] for u, s in zip(uris, matches.suffixes, strict=True)}
        by_name = np.array([numbers[suffix] for suffix in suffixes], np.int64)
        self._video = by_name[entries.video_index]
        keys = self._video * _PER_VIDEO + entries.frame_index
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def planned(self, items: Sequence[ManifestItem]) -> list[_Part]:
        # The entries of the planned frames, by item.
        usable = [item for item in items if item.stream is not None]
        places = [np.array([place or 0 for place in item.frames()], np.int64) for item in usable]
        bases = [self._number_of[item.uri] * _PER_VIDEO for item in usable]
        wanted = _joined([own + base for own, base in zip(places, bases, strict=True)])
        first, behind = (np.searchsorted(self._keys, wanted, side) for side in ("left", "right"))
        num_entries = behind - first
        if not (num_entries == 1).all():
            unmatched, ambiguous = (
                _named(np.flatnonzero(is_bad), usable, places)
                for is_bad in (num_entries == 0, num_entries > 1)
            )
            whole, key = f"{len(wanted)} frames", "video and frame_index"
            raise ConfigError(explain(self._uri, whole, key, unmatched, ambiguous))
        rows = np.split(self._order[first], np.cumsum([len(own) for own in places]))
        return [
            _Part(item.shard, own, item.image_id + np.arange(len(own)))
            for item, own in zip(usable, rows[:-1], strict=True)
        ]

    def lost(self, items: Sequence[ManifestItem]) -> list[_Part]:
        """List all entries of the videos that cannot be used."""
        parts: list[_Part] = []
        first = -1
        for item in items:
            if item.stream is None:
                rows = np.flatnonzero(self._video == self._number_of[item.uri])
                parts.append(_Part(item.shard, rows, first - np.arange(len(rows))))
                first -= len(rows)
        return parts

    def is_of(self, uris: set[str]) -> BoolArray:
        """Say for each entry whether it is of one of these videos of the run."""
        numbers = [self._number_of[uri] for uri in uris]
        return np.isin(self._video, np.array(numbers, np.int64))


def _joined(parts: Sequence[Int64Array]) -> Int64Array:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _require_apart(uri: str, annotated_ids: Int64Array, taken: Int64Array) -> None:
    both = np.intersect1d(annotated_ids, taken)
    if len(both):
        raise ConfigError(
            f"{uri}: {len(both)} images are an image of the run by file_name and a frame of its "
            f"videos by video, such as image {both[0]}"
        )


def _named(
    places: Int64Array, items: Sequence[ManifestItem], planned: Sequence[Int64Array]
) -> Examples:
    """Name some of the frames at these places of the run."""
    ends = list(accumulate(len(frames) for frames in planned))
    examples: list[str] = []
    for place in places[:MAX_EXAMPLES].tolist():
        i = bisect_right(ends, place)
        frame = planned[i][place - (ends[i] - len(planned[i]))]
        examples.append(f"frame {frame} of {items[i].uri}")
    return Examples(len(places), examples)
