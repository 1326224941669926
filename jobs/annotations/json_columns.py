"""JSON objects of one list read column by column; errors name file, list, position, id and value.

Checking a whole column at once costs about as much as building it; only when that fails is the
column searched for the first bad entry.
"""

import math
import reprlib
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fcos_core.errors import AnnotationError

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]

_BOX_LENGTH = 4
_LARGEST_COORDINATE = 1e150  # areas of such boxes are finite, and so are sums of them
INT64_LIMIT = 2**63
UNKNOWN_SIDE = 0
"""The width or height of an image whose entry says none."""

_NO_SIDES = {UNKNOWN_SIDE, -1}  # what programs write for a size that they do not know; also NaN

_EXACT_LIMIT = 2**53  # a larger number may have been rounded when it became a float
_REQUIRED = object()


class JsonColumns:
    """Some entries of one list of a COCO file, from ``first_position`` on.

    Raises:
        AnnotationError: an entry is no object.
    """

    def __init__(
        self, uri: str, name: str, entries: Sequence[object], *, first_position: int
    ) -> None:
        self._uri = uri
        self._name = name
        self._first_position = first_position
        self._entries = cast("Sequence[dict[str, Any]]", entries)
        if not set(map(type, self._entries)) <= {dict}:
            position = next(i for i, entry in enumerate(self._entries) if type(entry) is not dict)
            value = reprlib.repr(self._entries[position])
            place = f"{name}[{first_position + position}]"
            raise AnnotationError(f"{uri}: {place} is {value}, expected an object")

    def values(self, key: str, *, default: object = _REQUIRED) -> list[Any]:
        """Take one raw column, unchecked; without a default, a missing key is an error."""
        if default is not _REQUIRED:
            return [entry.get(key, default) for entry in self._entries]
        try:
            return [entry[key] for entry in self._entries]
        except KeyError:
            position = next(i for i, entry in enumerate(self._entries) if key not in entry)
            raise self._error(position, f"{key} is missing") from None

    def integers(self, key: str) -> Int64Array:
        """A column of whole numbers; ``5.0`` is one, strings and booleans are refused."""
        return np.array(self._whole(key, self.values(key)), dtype=np.int64)

    def sides(self, key: str, *, needed_by: str | None) -> Int64Array:
        """A column of widths or heights in pixels; ``UNKNOWN_SIDE`` where an entry has none.

        Null, NaN, 0 and -1 are none; other programs write them for a size that they do not know.
        ``needed_by`` is what cannot do without, for the error; None where nothing needs them.
        """
        values = self.values(key, default=None)
        known = [None if _is_no_side(value) else value for value in values]
        if needed_by is not None and None in known:
            position = known.index(None)
            said = "missing" if values[position] is None else repr(values[position])
            raise self._error(position, f"{key} is {said}, needed by {needed_by}")
        sides = self._whole(key, known, minimum=1, may_lack=True)
        return np.array([UNKNOWN_SIDE if side is None else side for side in sides], np.int64)

    def _whole(
        self,
        key: str,
        values: Sequence[Any],
        *,
        minimum: int = -INT64_LIMIT,
        may_lack: bool = False,
    ) -> Sequence[Any]:
        if float in set(map(type, values)):  # pandas writes a column with a gap as floats
            values = list(map(as_whole, values))
            limit = "an integer without point and exponent: this may have been rounded"
            self.require(key, values, lambda v: type(v) is not float or not v.is_integer(), limit)
        known = [v for v in values if v is not None] if may_lack else values
        is_fine = set(map(type, known)) <= {int} and (
            not known or (minimum <= min(known) and max(known) < INT64_LIMIT)
        )
        if not is_fine:
            limit = "a 64-bit integer" if minimum == -INT64_LIMIT else f"an integer >= {minimum}"
            self.require(
                key,
                values,
                lambda v: (
                    (may_lack and v is None) or (type(v) is int and minimum <= v < INT64_LIMIT)
                ),
                limit,
            )
        return values

    def strings(self, key: str, *, may_lack: Sequence[bool] | None = None) -> list[str]:
        """A column of non-empty strings; an entry that ``may_lack`` the key gets an empty one."""
        if may_lack is not None:
            values = self.values(key, default=None)
            for position, (value, is_fine) in enumerate(zip(values, may_lack, strict=True)):
                if value is None and not is_fine:
                    raise self._error(position, f"{key} is missing")
            self.require(key, values, lambda v: v is None or is_text(v), "a non-empty string")
            return [value or "" for value in values]
        values = self.values(key)
        if not (set(map(type, values)) <= {str} and all(values)):
            self.require(key, values, is_text, "a non-empty string")
        return values

    def numbers(
        self, key: str, values: Sequence[Any], *, minimum: float = -math.inf
    ) -> Float64Array:
        """Turn a raw column into finite floats not below ``minimum``."""
        limit = "a finite number" + ("" if minimum == -math.inf else f" >= {minimum:g}")
        if not _all_finite(values, minimum):
            self.require(key, values, lambda v: _all_finite([v], minimum), limit)
        return np.array(values, dtype=np.float64)

    def boxes(self, key: str) -> Float64Array:
        """A column of ``[x, y, width, height]``; width and height may be zero, never negative."""
        values = self.values(key)
        is_fine = set(map(type, values)) <= {list} and set(map(len, values)) <= {_BOX_LENGTH}
        if not (is_fine and _are_boxes(list(chain.from_iterable(values)))):
            limit = (
                f"four numbers x, y, width >= 0, height >= 0, none beyond {_LARGEST_COORDINATE:g}"
            )
            self.require(key, values, _is_box, limit)
        return np.array(values, dtype=np.float64).reshape(-1, _BOX_LENGTH)

    def require(
        self, key: str, values: Sequence[Any], is_good: Callable[[Any], bool], limit: str
    ) -> None:
        """Raise for the first value that is not good; ``limit`` describes a good one."""
        for position, value in enumerate(values):
            if not is_good(value):
                raise self._error(position, f"{key} is {reprlib.repr(value)}, expected {limit}")

    def refuse_key(self, key: str, why: str) -> None:
        """Raise for the first entry that has a forbidden key."""
        for position, entry in enumerate(self._entries):
            if key in entry:
                raise self._error(position, f"has {key}, {why}")

    def _error(self, position: int, what: str) -> AnnotationError:
        entry = self._entries[position]
        own_id = f" (id {reprlib.repr(entry['id'])})" if "id" in entry else ""
        place = f"{self._name}[{self._first_position + position}]"
        return AnnotationError(f"{self._uri}: {place}{own_id}: {what}")


def as_whole(value: object) -> object:
    """Turn a float that is a whole number, and exact, into that number; leave others alone."""
    if type(value) is float and value.is_integer() and abs(value) < _EXACT_LIMIT:
        return int(value)
    return value


def is_nan(value: object) -> bool:
    """Say whether a value is NaN, which pandas writes for a gap in a column."""
    return type(value) is float and math.isnan(value)


def _is_no_side(value: object) -> bool:
    return value is None or is_nan(value) or (type(value) in {int, float} and value in _NO_SIDES)


def _all_finite(values: Sequence[Any], minimum: float = -math.inf) -> bool:
    if not set(map(type, values)) <= {int, float}:
        return False
    try:
        column = np.array(values, dtype=np.float64)
    except OverflowError:  # an integer beyond the range of a float
        return False
    return bool(np.isfinite(column).all() and (column >= minimum).all())


def is_text(value: object) -> bool:
    """Say whether a value is a string that is not empty."""
    return type(value) is str and bool(value)


def _are_boxes(numbers: list[Any]) -> bool:
    sizes = chain(numbers[2::_BOX_LENGTH], numbers[3::_BOX_LENGTH])
    if not _all_finite(numbers) or min(sizes, default=0) < 0:
        return False
    return max(max(numbers, default=0), -min(numbers, default=0)) <= _LARGEST_COORDINATE


def _is_box(value: object) -> bool:
    if type(value) is not list:
        return False
    numbers = cast("list[Any]", value)
    return len(numbers) == _BOX_LENGTH and _are_boxes(numbers)
