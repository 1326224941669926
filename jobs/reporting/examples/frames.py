"""Decodes single frames of videos, from the key frame before each one."""

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
from jobs.reporting.examples.selection import ExampleSet
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem, Row
from jobs.rundir.sampled_frames import write_sampling
from jobs.storage import absolute


class FrameReader:
    """Decodes the frame of a row; of its segment, only the frame's own group of pictures.

    ``items`` are the video segments of the rows, by item id. ``image_root`` holds the videos now;
    None for the paths in the run.
    """

    def __init__(self, items: Mapping[int, ManifestItem], image_root: str | None) -> None:
        self._items = items
        self._root = None if image_root is None else absolute(image_root)

    @classmethod
    def of_examples(
        cls, run: RunDirectory, example_sets: Sequence[ExampleSet], image_root: str | None
    ) -> FrameReader:
        """Find the video segments of all examples in the manifest."""
        wanted = {example.row.item_id for one in example_sets for example in one.examples}
        items = (i for _, group in run.manifest().iterate() for i in group) if wanted else ()
        return cls({i.item_id: i for i in items if i.item_id in wanted}, image_root)

    def read(self, row: Row) -> npt.NDArray[np.uint8]:
        """Decode one frame, RGB and upright.

        Raises:
            VideoError: the frame does not exist, or cannot be decoded.
        """
        item = self._items[row.item_id]
        if item.stream is None or row.frame_index is None or row.timestamp_s is None:
            raise VideoError(f"{row.uri}: the manifest does not say where its frames are")
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
        raise VideoError(f"{row.uri}: frame {row.frame_index} does not exist")
