"""One list of an annotation file turned into columns batch by batch, bad entries left out or not.

A batch of entries is checked and converted as a whole; only one that fails is looked at entry by
entry. So the Python objects of one batch are in memory, and the columns of all.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fcos_core.errors import AnnotationError
from jobs.annotations.json_columns import JsonColumns

BATCH_ENTRIES = 10_000
MAX_INVALID_KEPT = 10_000
"""Left out entries that are described one by one; the rest are only counted."""

Columns = dict[str, npt.NDArray[Any]]
BoolArray = npt.NDArray[np.bool_]

POSITION = "position"
"""The column of an entry's place in the file's list, which every list has."""
_INT64_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class InvalidEntry:
    """An entry that was left out.

    Attributes:
        list_name: the list it is in.
        position: its place in that list, from 0.
        id: its own id; None where that is missing or no 64-bit integer.
        reason: one line that names list, position, id and value.
    """

    list_name: str
    position: int
    id: int | None
    reason: str


class Refusals:
    """Raises for an invalid entry, or keeps it in mind and lets the reading go on.

    Args:
        uri: the file, for messages.
        skip: keep in mind instead of raising.
    """

    def __init__(self, uri: str, *, skip: bool) -> None:
        self.uri = uri
        self.skip = skip
        self.num_invalid = 0
        self.kept: list[InvalidEntry] = []

    def add(
        self, list_name: str, position: int, own_id: int | None, error: AnnotationError
    ) -> None:
        """Refuse one entry.

        Raises:
            AnnotationError: the error that is given, unless entries are to be skipped.
        """
        if not self.skip:
            raise error
        self.num_invalid += 1
        if len(self.kept) < MAX_INVALID_KEPT:
            reason = str(error).removeprefix(f"{self.uri}: ")
            self.kept.append(InvalidEntry(list_name, position, own_id, reason))

    def positions(self, list_name: str) -> dict[int | None, int]:
        """Where the refused entries of a list are, by their ids, as far as they are described."""
        of_list = (entry for entry in reversed(self.kept) if entry.list_name == list_name)
        return {entry.id: entry.position for entry in of_list}


class GatheredList:
    """The columns of one list, and which of its entries were left out.

    Args:
        name: the list's name in the file.
        keys: what to keep of each entry; the rest, polygons above all, is dropped at once.
        read: turns a batch into columns of one row per entry; one of them is ``id``.
        refusals: told of every invalid entry.
    """

    def __init__(
        self,
        name: str,
        keys: tuple[str, ...],
        read: Callable[[JsonColumns], Columns],
        refusals: Refusals,
    ) -> None:
        self.name = name
        self._keys = keys
        self._read = read
        self.refusals = refusals
        nothing = self._convert([], 0)
        self._batches: list[Columns] = [{POSITION: np.empty(0, dtype=np.int64), **nothing}]

    def add(self, entries: Iterable[object]) -> None:
        """Read all entries.

        Raises:
            AnnotationError: an entry is invalid, and such are not to be skipped.
        """
        trimmed = map(self._trim, entries)
        first_position = 0
        while batch := list(islice(trimmed, BATCH_ENTRIES)):
            self._add_batch(batch, first_position)
            first_position += len(batch)

    def columns(self) -> Columns:
        """The columns of all entries that were not left out; the batches are given up for them."""
        batches, self._batches = self._batches, []
        names = list(batches[0])
        return {name: np.concatenate([batch.pop(name) for batch in batches]) for name in names}

    def keep(self, columns: Columns, is_good: BoolArray, reason: Callable[[int], str]) -> Columns:
        """Leave out more rows.

        Args:
            columns: what ``columns`` gave.
            is_good: the rows to keep.
            reason: says of a row's index why it is not kept.

        Returns:
            The rows that are kept.

        Raises:
            AnnotationError: there are others, and invalid entries are not to be skipped.
        """
        if is_good.all():
            return columns
        for row in np.flatnonzero(~is_good).tolist():
            position, own_id = int(columns[POSITION][row]), int(columns["id"][row])
            message = f"{self.refusals.uri}: {self.name}[{position}] (id {own_id}): {reason(row)}"
            self.refusals.add(self.name, position, own_id, AnnotationError(message))
        return {name: column[is_good] for name, column in columns.items()}

    def _trim(self, entry: object) -> object:
        if type(entry) is not dict:
            return entry
        values = cast("Mapping[str, object]", entry)
        return {key: values[key] for key in self._keys if key in values}

    def _add_batch(self, batch: list[object], first_position: int) -> None:
        positions = np.arange(first_position, first_position + len(batch), dtype=np.int64)
        try:
            columns = self._convert(batch, first_position)
        except AnnotationError:
            if not self.refusals.skip:
                raise
            sound = self._sift(batch, first_position)
            positions = np.array([position for position, _ in sound], dtype=np.int64)
            columns = self._convert([entry for _, entry in sound], first_position)
        self._batches.append({POSITION: positions, **columns})

    def _convert(self, batch: list[object], first_position: int) -> Columns:
        uri = self.refusals.uri
        return self._read(JsonColumns(uri, self.name, batch, first_position=first_position))

    def _sift(self, batch: list[object], first_position: int) -> list[tuple[int, object]]:
        """Refuse what is invalid in a batch, found by halving it; the rest with its positions."""
        try:
            self._convert(batch, first_position)
        except AnnotationError as error:
            if len(batch) == 1:
                self.refusals.add(self.name, first_position, _own_id(batch[0]), error)
                return []
            half = len(batch) // 2
            return [
                *self._sift(batch[:half], first_position),
                *self._sift(batch[half:], first_position + half),
            ]
        return list(enumerate(batch, first_position))


def _own_id(entry: object) -> int | None:
    if not isinstance(entry, dict):
        return None
    own_id = cast("Mapping[str, object]", entry).get("id")
    return own_id if type(own_id) is int and -_INT64_LIMIT <= own_id < _INT64_LIMIT else None
