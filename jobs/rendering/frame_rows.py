"""Which row's detections are drawn on a frame: its own, or those of the last frame the run took."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jobs.rendering.shard_rows import ShardRows
from jobs.rundir.rows import ManifestItem, Row
from jobs.settings.render import Between


class FrameRows:
    """The rows of a range of a video's frames, which the manifest's segments ``items`` hold."""

    def __init__(
        self, items: Sequence[ManifestItem], shards: Mapping[int, ShardRows], between: Between
    ) -> None:
        ids = {item.item_id for item in items}
        numbers = sorted({item.shard for item in items})
        self._rows: dict[int, Row] = {
            row.frame_index: row
            for number in numbers
            if number in shards
            for row in shards[number].read()
            if row.item_id in ids and row.frame_index is not None
        }
        places = {place for item in items for place in item.frames() if place is not None}
        self._places = np.array(sorted(places), np.int64)
        self._between: Between = between

    def of(self, frame_index: int) -> Row | None:
        """Return the row whose detections are drawn on a frame; None for no detections."""
        i = int(np.searchsorted(self._places, frame_index, side="right")) - 1
        if i < 0:
            return None
        place = int(self._places[i])
        if place != frame_index and self._between == "none":
            return None
        row = self._rows.get(place)
        return row if row is not None and row.status == "ok" else None


def items_for(
    items: Iterable[ManifestItem], first_frame: int, end_frame: int
) -> tuple[ManifestItem, ...]:
    """Return the segments whose rows may be drawn on a range of frames.

    The range ends before ``end_frame``. The items are the segments of one video, by first frame.
    """
    ordered = list(items)
    starts = [item.first_frame or 0 for item in ordered]
    begin = max(0, int(np.searchsorted(starts, first_frame, side="right")) - 1)
    return tuple(ordered[begin : int(np.searchsorted(starts, end_frame))])
