"""Entries of a COCO file's ``images`` that are frames of videos: ``video`` and ``frame_index``.

COCO itself knows images only. An entry whose ``video`` names a file and whose ``frame_index`` is
the place of a frame in the order they are shown, from 0, is that frame; it needs no ``file_name``.
One that has all three (as TAO's have) is the image or the frame, whichever a run has looked at.
"""

import sys
from dataclasses import dataclass

import numpy as np

from jobs.annotations.batches import BoolArray, Columns
from jobs.annotations.json_columns import Int64Array, JsonColumns, as_whole, is_text

FRAME_KEYS = ("video", "frame_index")

_LARGEST_INDEX = 2**31 - 1  # what the column of a run's table holds
_NO_FRAME = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameEntries:
    """Frames of videos, in the file's order.

    With ``F`` frames and ``V`` names:

    Attributes:
        ids: (F,)
        is_image: (F,), whether the entry has a ``file_name`` too.
        videos: (V,), each name once.
        video_index: (F,), into ``videos``.
        frame_index: (F,), from 0.
    """

    ids: Int64Array
    is_image: BoolArray
    videos: tuple[str, ...]
    video_index: Int64Array
    frame_index: Int64Array

    def __len__(self) -> int:
        return len(self.ids)

    def name_of(self, image_id: int) -> dict[str, str | int]:
        """Say in the words of the file which frame an entry is."""
        row = int(np.flatnonzero(self.ids == image_id)[0])
        video = self.videos[int(self.video_index[row])]
        return {"video": video, "frame_index": int(self.frame_index[row])}


def read_names(table: JsonColumns) -> Columns:
    """Read what entries are called: an image's file, a frame's video and its place in there.

    Returns:
        ``file_name`` and ``video``, empty where an entry has none, and ``frame_index``.
    """
    names, videos, places = (table.values(key, default=None) for key in ("file_name", *FRAME_KEYS))
    places = list(map(as_whole, places))
    # What other formats keep under these keys beside a file's name is no concern of ours.
    is_frame = [
        video is not None and (name is None or (type(video) is str and place is not None))
        for name, video, place in zip(names, videos, places, strict=True)
    ]
    if not any(is_frame):
        videos, places = [""] * len(names), [_NO_FRAME] * len(names)
        names = table.strings("file_name")
    else:
        names = table.strings("file_name", may_lack=is_frame)
        both = list(zip(videos, places, is_frame, strict=True))
        named = [video if frame else "-" for video, _, frame in both]
        table.require("video", named, is_text, "a non-empty string")
        videos = [video if frame else "" for video, _, frame in both]
        places = [place if frame else 0 for _, place, frame in both]
        table.require("frame_index", places, _is_place, f"an integer from 0 to {_LARGEST_INDEX}")
        places = [place if frame else _NO_FRAME for _, place, frame in both]
    return {
        "file_name": np.array(names, dtype=np.object_),
        # One object per video and not per entry.
        "video": np.array([sys.intern(video) for video in videos], dtype=np.object_),
        "frame_index": np.array(places, dtype=np.int64),
    }


def frame_entries(images: Columns) -> FrameEntries:
    """Take the frames out of all entries, given their ``id`` and what ``read_names`` read."""
    rows = np.flatnonzero(images["frame_index"] != _NO_FRAME)
    videos: list[str] = images["video"][rows].tolist()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(videos))}
    return FrameEntries(
        ids=images["id"][rows],
        is_image=np.array([bool(name) for name in images["file_name"][rows]], np.bool_),
        videos=tuple(numbers),
        video_index=np.array([numbers[name] for name in videos], np.int64),
        frame_index=images["frame_index"][rows],
    )


def _is_place(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST_INDEX
