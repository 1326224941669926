"""Single frames of videos, decoded where they are: the rest of a video is only read past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from fcos_core.errors import VideoError
from jobs.inputs.relocated import relocate
from jobs.inputs.video_frames import segment_of
from jobs.inputs.video_source import video_source
from jobs.media.video import Lost, decode_segment
from jobs.reporting.examples.selection import Panel
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem, Row
from jobs.rundir.sampled_frames import write_sampling
from jobs.storage import absolute


class FrameReader:
    """Decodes frames by their rows: of the segment's groups, none but the frame's own.

    Args:
        items: the segments that hold them, by item id.
        image_root: folder that the videos lie in now; None for where the run found them.
    """

    def __init__(self, items: Mapping[int, ManifestItem], image_root: str | None) -> None:
        self._items = items
        self._root = None if image_root is None else absolute(image_root)

    @classmethod
    def of_panels(
        cls, run: RunDirectory, panels: Sequence[Panel], image_root: str | None
    ) -> FrameReader:
        """Look up the segments of the frames that panels show."""
        wanted = {choice.row.item_id for panel in panels for choice in panel.choices}
        items = (item for _, group in run.iterate_manifest() for item in group) if wanted else ()
        return cls({i.item_id: i for i in items if i.item_id in wanted}, image_root)

    def read(self, row: Row) -> npt.NDArray[np.uint8]:
        """Decode one frame, RGB and upright.

        Raises:
            VideoError: it is not there, or cannot be decoded.
        """
        item = self._items[row.item_id]
        if item.stream is None or row.frame_index is None or row.timestamp_s is None:
            raise VideoError(f"{row.uri}: where its frames lie is not known")
        source = video_source(row.uri if self._root is None else relocate(row.uri, self._root))
        whole = segment_of(item)
        pts = round(row.timestamp_s / whole.time_base)
        one = (np.array([value], np.int64) for value in (row.frame_index, pts))
        alone = replace(
            whole,
            first_frame=row.frame_index,
            num_frames=1,
            start_pts=pts,
            end_pts=pts,
            sampling=write_sampling(*one),
        )
        for event in decode_segment(source, alone):
            if isinstance(event, Lost):
                raise VideoError(f"{row.uri}: frame {row.frame_index}: {event.reason}")
            return event.pixels
        raise VideoError(f"{row.uri}: frame {row.frame_index} is not there")
