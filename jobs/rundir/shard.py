"""The unit of work, and its outcome: committed, or refused by storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.rundir.rows import ManifestItem


@dataclass(frozen=True)
class Shard:
    """The unit of work: consecutive items of the manifest, whose rows become one file.

    Attributes:
        number: of the shard.
        items: in manifest order.
        poison: the items that kill the process which computes them: the reason, by item_id.
    """

    number: int
    items: tuple[ManifestItem, ...]
    poison: Mapping[int, str] = field(default_factory=dict[int, str])

    @property
    def sound(self) -> tuple[ManifestItem, ...]:
        return tuple(item for item in self.items if item.item_id not in self.poison)

    @property
    def num_rows(self) -> int:
        """Images and frames."""
        return sum(item.num_frames or 1 for item in self.items)


@dataclass(frozen=True)
class PlannedShard:
    """A shard as a driver knows it; its worker reads the items from the manifest.

    Attributes:
        number: of the shard.
        num_rows: images and frames.
        poison: as ``Shard``'s.
    """

    number: int
    num_rows: int
    poison: Mapping[int, str] = field(default_factory=dict[int, str])


AnyShard = Shard | PlannedShard
"""A shard with its items, or one whose items are in the manifest."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A shard whose file is committed.

    Attributes:
        shard: the shard's number.
        num_items: images and video segments.
        num_ok: rows with detections.
        num_quarantined: rows of images and frames that could not be used.
        seconds: from the first item to the last row, without writing the file.
        created: False when another worker's file existed already and this one was dropped.
        device: the model of the device that computed the shard.
        changed_items: item ids that a retry recovered from another version of the object than the
            manifest lists, for example from a repaired image.
        video_frames: planned frames of the shard's videos, by uri.
    """

    shard: int
    num_items: int
    num_ok: int
    num_quarantined: int
    seconds: float
    created: bool
    device: str
    changed_items: tuple[int, ...] = ()
    video_frames: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def num_rows(self) -> int:
        """Images and frames."""
        return self.num_ok + self.num_quarantined


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A shard whose inputs or file storage refused to read or write, after several tries.

    ``error`` is the message of the last refusal.
    """

    shard: int
    error: str


Outcome = Receipt | Failure
