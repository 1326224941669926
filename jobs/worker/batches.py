"""Which images share a batch: only the sizes of a shard's images in manifest order decide."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

HELD_BYTES = 512 * 2**20
"""Decoded bytes that may wait for a full batch. No setting, since the batches depend on it."""


@dataclass
class _Group(Generic[T]):
    """Images of one padded shape that wait until the group is full."""

    members: list[T] = field(default_factory=list[T])
    size_bytes: int = 0


class BatchGrouper(Generic[T]):
    """Collects images by padded shape; a full group is a batch.

    When more than ``held_bytes`` wait in groups that are not full, the group with the most bytes
    becomes a short batch, and of two equal groups the one begun first. No clock or thread plays a
    part, so the same sizes in the same order always make the same batches.
    """

    def __init__(self, batch_size: int, *, held_bytes: int = HELD_BYTES) -> None:
        assert batch_size >= 1
        self._batch_size = batch_size
        self._held_limit = held_bytes
        self._held_bytes = 0
        self._groups: dict[Hashable, _Group[T]] = {}  # in the order they were begun

    def add(self, shape: Hashable, member: T, size_bytes: int) -> list[list[T]]:
        """Add an image to the group of its padded shape; return the batches to compute now."""
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
        """Return the groups that are left as short batches, in the order of their first images."""
        return [self._take(shape) for shape in list(self._groups)]

    def _take(self, shape: Hashable) -> list[T]:
        group = self._groups.pop(shape)
        self._held_bytes -= group.size_bytes
        return group.members
