"""One list of a COCO file read into columns, batch by batch; invalid entries refused or left out.

A batch is checked and converted as a whole; only a batch that fails is searched for its invalid
entries. So the Python objects of one batch are in memory, and the columns of all batches.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fcos_core.errors import AnnotationError
from jobs.annotations.json_columns import INT64_LIMIT, JsonColumns, as_whole

BATCH_ENTRIES = 10_000
MAX_INVALID_DESCRIBED = 10_000
"""Invalid entries that are described one by one; the others are only counted."""

Columns = dict[str, npt.NDArray[Any]]
BoolArray = npt.NDArray[np.bool_]

POSITION = "position"
"""The column of an entry's position in the file's list, which every list has."""


@dataclass(frozen=True, slots=True)
class InvalidEntry:
    """An entry that was left out: its list, its position there from 0, and why, in one line.

    ``id`` is None when it is missing or no 64-bit integer.
    """

    list_name: str
    position: int
    id: int | None
    reason: str


class InvalidEntries:
    """The invalid entries of a file: the first one is an error, or with ``skip`` all are left out.

    All are counted, and the first ``MAX_INVALID_DESCRIBED`` are described.
    """

    def __init__(self, uri: str, *, skip: bool) -> None:
        self.uri = uri
        self.skip = skip
        self.count = 0
        self.described: list[InvalidEntry] = []

    def add(
        self, list_name: str, position: int, own_id: int | None, error: AnnotationError
    ) -> None:
        """Leave one entry out; raise ``error`` unless invalid entries are to be skipped."""
        if not self.skip:
            raise error
        self.count += 1
        if len(self.described) < MAX_INVALID_DESCRIBED:
            reason = str(error).removeprefix(f"{self.uri}: ")
            self.described.append(InvalidEntry(list_name, position, own_id, reason))

    def positions(self, list_name: str) -> dict[int | None, int]:
        """Positions of a list's invalid entries by id, of those that are described."""
        of_list = (entry for entry in reversed(self.described) if entry.list_name == list_name)
        return {entry.id: entry.position for entry in of_list}


class ListReader:
    """Reads one list of a COCO file into columns, batch by batch.

    Of each entry only ``keys`` are kept; the rest, polygons above all, is dropped at once.
    """

    def __init__(
        self,
        name: str,
        keys: Collection[str],
        read: Callable[[JsonColumns], Columns],
        invalid: InvalidEntries,
    ) -> None:
        self.name = name
        self.invalid = invalid
        self._keys = frozenset(keys)
        self._read = read
        empty = self._convert([], 0)
        self._batches: list[Columns] = [{POSITION: np.empty(0, dtype=np.int64), **empty}]

    def add(self, entries: Iterable[object]) -> None:
        """Read all entries; an invalid one is an error unless such entries are to be skipped."""
        trimmed = map(self._trim, entries)
        first_position = 0
        while batch := list(islice(trimmed, BATCH_ENTRIES)):
            self._add_batch(batch, first_position)
            first_position += len(batch)

    def columns(self) -> Columns:
        """Join the batches to the columns of all valid entries; can be called once."""
        batches, self._batches = self._batches, []
        names = list(batches[0])
        return {name: np.concatenate([batch.pop(name) for batch in batches]) for name in names}

    def keep(self, columns: Columns, is_good: BoolArray, reason: Callable[[int], str]) -> Columns:
        """Return the good rows; the others become invalid entries, each with its ``reason``."""
        if is_good.all():
            return columns
        for row in np.flatnonzero(~is_good).tolist():
            position = int(columns[POSITION][row])
            own_id = int(columns["id"][row]) if "id" in columns else None
            entry = f"{self.name}[{position}]" + ("" if own_id is None else f" (id {own_id})")
            error = AnnotationError(f"{self.invalid.uri}: {entry}: {reason(row)}")
            self.invalid.add(self.name, position, own_id, error)
        return {name: column[is_good] for name, column in columns.items()}

    def _trim(self, entry: object) -> object:
        if type(entry) is not dict:
            return entry
        values = cast("Mapping[str, object]", entry)
        if values.keys() <= self._keys:
            return values
        return {key: values[key] for key in self._keys if key in values}

    def _add_batch(self, batch: list[object], first_position: int) -> None:
        positions = np.arange(first_position, first_position + len(batch), dtype=np.int64)
        try:
            columns = self._convert(batch, first_position)
        except AnnotationError:
            if not self.invalid.skip:
                raise
            valid = self._valid(batch, first_position)
            positions = np.array([position for position, _ in valid], dtype=np.int64)
            columns = self._convert([entry for _, entry in valid], first_position)
        self._batches.append({POSITION: positions, **columns})

    def _convert(self, batch: list[object], first_position: int) -> Columns:
        uri = self.invalid.uri
        return self._read(JsonColumns(uri, self.name, batch, first_position=first_position))

    def _valid(self, batch: list[object], first_position: int) -> list[tuple[int, object]]:
        """Leave out the invalid entries of a batch, found by halving it; return the others."""
        try:
            self._convert(batch, first_position)
        except AnnotationError as error:
            if len(batch) == 1:
                self.invalid.add(self.name, first_position, _own_id(batch[0]), error)
                return []
            half = len(batch) // 2
            return [
                *self._valid(batch[:half], first_position),
                *self._valid(batch[half:], first_position + half),
            ]
        return list(enumerate(batch, first_position))


def _own_id(entry: object) -> int | None:
    if not isinstance(entry, dict):
        return None
    own_id = as_whole(cast("Mapping[str, object]", entry).get("id"))
    return own_id if type(own_id) is int and -INT64_LIMIT <= own_id < INT64_LIMIT else None
