"""Which images share a batch: a function of a shard's sizes in manifest order and of no more."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

HELD_BYTES = 512 * 2**20
"""Decoded bytes that may wait for batch mates. A constant and no setting: batches depend on it."""


@dataclass
class _Group(Generic[T]):
    """Images of one padded shape that wait for more of them."""

    members: list[T] = field(default_factory=list[T])
    size_bytes: int = 0


class BatchGrouper(Generic[T]):
    """Collects images by padded shape and gives each group away when it is full.

    When more than ``held_bytes`` wait in unfinished groups, the group with the most bytes goes as a
    short batch, the one begun first when two are equal. Nothing here looks at a clock or at a
    thread, so the same sizes in the same order always make the same batches.

    Args:
        batch_size: members of a full group.
        held_bytes: the most that unfinished groups may hold together.
    """

    def __init__(self, batch_size: int, *, held_bytes: int = HELD_BYTES) -> None:
        assert batch_size >= 1
        self._batch_size = batch_size
        self._held_limit = held_bytes
        self._held_bytes = 0
        self._groups: dict[Hashable, _Group[T]] = {}  # in the order they were begun

    def add(self, shape: Hashable, member: T, size_bytes: int) -> list[list[T]]:
        """Take an image in.

        Args:
            shape: images of equal shape may share a batch.
            member: the image, or whatever stands for it.
            size_bytes: what it holds in memory.

        Returns:
            The batches that are now to be computed, often none.
        """
        group = self._groups.setdefault(shape, _Group())
        group.members.append(member)
        group.size_bytes += size_bytes
        self._held_bytes += size_bytes
        batches: list[list[T]] = []
        if len(group.members) == self._batch_size:
            batches.append(self._take(shape))
        while self._held_bytes > self._held_limit:
            largest = max(self._groups, key=lambda key: self._groups[key].size_bytes)
            batches.append(self._take(largest))
        return batches

    def rest(self) -> list[list[T]]:
        """Give away what still waits, as short batches, the group begun first at the head."""
        return [self._take(shape) for shape in list(self._groups)]

    def _take(self, shape: Hashable) -> list[T]:
        group = self._groups.pop(shape)
        self._held_bytes -= group.size_bytes
        return group.members
