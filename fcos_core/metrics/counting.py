"""Runs of numbers, all at once: loops that numpy has no function for.

Letters: ``K`` runs, ``N`` numbers of all of them.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from jaxtyping import Int64


def count_up(
    starts: Int64[np.ndarray, " K"], lengths: Int64[np.ndarray, " K"]
) -> tuple[Int64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """Count up from every start as often as its length says.

    Args:
        starts: the first numbers.
        lengths: how many numbers from each; may be zero.

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
    """Count up as :func:`count_up` does, a bounded number of numbers at a time.

    Args:
        starts: the first numbers.
        lengths: how many numbers from each; may be zero.
        at_once: about how many at a time; a part holds whole runs.

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
    """Where each run of equal keys begins.

    Args:
        keys: sorted.
    """
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = keys[1:] != keys[:-1]
    return np.flatnonzero(is_first)


def ranks_within(keys: Int64[np.ndarray, " N"]) -> Int64[np.ndarray, " N"]:
    """The place of each element in its run of equal keys, from 0.

    Args:
        keys: sorted.
    """
    starts = run_starts(keys)
    lengths = np.diff(np.append(starts, len(keys)))
    return np.arange(len(keys)) - np.repeat(starts, lengths)
