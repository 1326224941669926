"""The unit of work, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.rundir.rows import ManifestItem


@dataclass(frozen=True)
class Shard:
    """The unit of work: some items of the manifest, in its order, whose rows become one file.

    Attributes:
        number: of the shard.
        items: all of them.
        poison: why, by item_id, some of them are not to be touched: they kill whoever tries.
    """

    number: int
    items: tuple[ManifestItem, ...]
    poison: Mapping[int, str] = field(default_factory=dict[int, str])

    @property
    def sound(self) -> tuple[ManifestItem, ...]:
        """The items that may be touched."""
        return tuple(item for item in self.items if item.item_id not in self.poison)

    @property
    def num_rows(self) -> int:
        """Images and frames."""
        return sum(item.num_frames or 1 for item in self.items)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """A shard whose file is committed.

    Attributes:
        shard: its number.
        num_items: images and video segments in it.
        num_ok: rows with detections.
        num_quarantined: rows of what could not be used.
        seconds: from the first item to the last row, without the writing.
        created: False when another attempt's file was there first, and ours was dropped.
        device: the model of what computed it.
        changed_items: of a later attempt, those it recovered from an object that is no longer the
            one the manifest lists, as when somebody repaired an image.
    """

    shard: int
    num_items: int
    num_ok: int
    num_quarantined: int
    seconds: float
    created: bool
    device: str
    changed_items: tuple[int, ...] = ()

    @property
    def num_rows(self) -> int:
        """Images and frames."""
        return self.num_ok + self.num_quarantined


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A shard that storage refused to give or to take, even after several tries.

    Attributes:
        shard: its number.
        error: the last refusal.
    """

    shard: int
    error: str


Outcome = Receipt | Failure
