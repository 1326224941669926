"""Operations on runs of numbers that numpy has no function for, without loops.

Letters: ``K`` runs, ``N`` numbers of all runs together.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Int64


def count_up(
    starts: Int64[np.ndarray, " K"], lengths: Int64[np.ndarray, " K"]
) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """Count up from every start; ``lengths`` may be zero.

    Returns:
        Which start each number comes from, and the numbers.
    """
    ends = np.cumsum(lengths)
    which = np.repeat(np.arange(len(starts)), lengths)
    numbers = np.arange(ends[-1] if len(ends) else 0)
    numbers += np.repeat(starts - (ends - lengths), lengths)
    return which, numbers


def count_up_in_parts(
    starts: Int64[np.ndarray, " K"], lengths: Int64[np.ndarray, " K"], at_once: int
) -> Iterator[tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]]:
    """Count up as :func:`count_up` does, in parts of whole runs with about ``at_once`` numbers.

    Yields:
        Which start each number comes from, and the numbers.
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(0, total, at_once)).tolist()
    for first, last in pairwise([*cuts, len(starts)]):
        which, numbers = count_up(starts[first:last], lengths[first:last])
        yield which + first, numbers


def run_starts(keys: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " K"]:
    """Where each run of equal keys begins; the keys are sorted."""
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = keys[1:] != keys[:-1]
    return np.flatnonzero(is_first)


def ranks_within(keys: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """The place of each element in its run of equal keys, from 0; the keys are sorted."""
    starts = run_starts(keys)
    lengths = np.diff(np.append(starts, len(keys)))
    return np.arange(len(keys)) - np.repeat(starts, lengths)


def by_key(keys: Int64[np.ndarray, " N"]) -> Iterator[Int64[np.ndarray, " _"]]:
    """Group the elements by their keys 0, 1, ... up to the largest.

    Yields:
        Indices of the elements with each key, rising.
    """
    order = np.argsort(keys, kind="stable")
    edges = np.arange(int(keys.max(initial=-1)) + 2)
    for first, last in pairwise(np.searchsorted(keys[order], edges).tolist()):
        yield order[first:last]
