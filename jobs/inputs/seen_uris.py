"""Which uris were found before, of more uris than memory holds.

A uri is known by 16 bytes of its BLAKE2b digest: among 10^12 uris two are taken for one with a
chance of 10^-15. The newest digests are a set in memory; when it is full, they become a run on
disk: sorted by their first eight bytes, so that a search of many digests reads a few pages. Runs of
about the same length are merged, so that their number grows with the logarithm of the uris.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jobs.inputs.spool import MEMORY_ROWS, TemporaryFolder

BoolArray = npt.NDArray[np.bool_]
Halves = npt.NDArray[np.uint64]
"""The first or the second eight bytes of digests."""

_DIGEST_BYTES = 16
_MERGED_RUNS = 4
_LARGEST_HALF = 2**64 - 1


@dataclass(frozen=True)
class _Run:
    """Digests in two files by their rising first halves; ``level``: how often they were merged."""

    paths: tuple[Path, Path]
    level: int
    firsts: Halves
    seconds: Halves


class SeenUris:
    """A set of uris; keeps ``memory_rows`` digests in memory, the others in files of a folder."""

    def __init__(self, folder: TemporaryFolder, *, memory_rows: int = MEMORY_ROWS) -> None:
        self._folder = folder
        self._memory_rows = memory_rows
        self._newest: set[bytes] = set()
        self._runs: list[_Run] = []

    def add(self, uris: Sequence[str]) -> BoolArray:
        """Take uris; say of each whether it was there before, also among these.

        Raises:
            ConfigError: the disk is full.
        """
        digests = [_digest(uri) for uri in uris]
        is_old = self._find(digests)
        for place in np.flatnonzero(~is_old):
            if digests[place] in self._newest:
                is_old[place] = True
            else:
                self._newest.add(digests[place])
        if len(self._newest) >= self._memory_rows:
            self._write_newest()
        return is_old

    def _find(self, digests: list[bytes]) -> BoolArray:
        """Say which digests are in the runs."""
        is_there = np.zeros(len(digests), np.bool_)
        if not self._runs:
            return is_there
        firsts, seconds = _halves(digests)
        order = np.argsort(firsts)  # searches for near values touch the same pages
        wanted = firsts[order]
        for run in self._runs:
            starts = np.searchsorted(run.firsts, wanted)
            rows = np.flatnonzero(starts < len(run.firsts))
            rows = rows[run.firsts[starts[rows]] == wanted[rows]]
            is_same = run.seconds[starts[rows]] == seconds[order[rows]]
            is_there[order[rows[is_same]]] = True
            for row in rows[~is_same]:  # another digest begins alike
                end = np.searchsorted(run.firsts, wanted[row], side="right")
                others = run.seconds[starts[row] : end]
                is_there[order[row]] |= bool(np.any(others == seconds[order[row]]))
        return is_there

    def _write_newest(self) -> None:
        firsts, seconds = _halves(list(self._newest))
        self._newest = set()
        order = np.argsort(firsts)
        self._runs.append(self._write([(firsts[order], seconds[order])], level=0))
        while True:
            level = self._runs[-1].level
            same = [run for run in self._runs if run.level == level]
            if len(same) < _MERGED_RUNS:
                return
            merged = self._write(self._merge(same), level=level + 1)
            self._runs = [*self._runs[: -len(same)], merged]
            for path in (path for run in same for path in run.paths):
                path.unlink()

    def _merge(self, runs: list[_Run]) -> Iterator[tuple[Halves, Halves]]:
        """Sort runs together, one range of digests after the other: digests lie evenly.

        Yields:
            First and second halves of about ``memory_rows`` digests.
        """
        num_pieces = -(-sum(len(run.firsts) for run in runs) // self._memory_rows)
        starts = [0] * len(runs)
        for piece in range(1, num_pieces + 1):
            bound = np.uint64(_LARGEST_HALF * piece // num_pieces)
            ends = [int(np.searchsorted(run.firsts, bound, side="right")) for run in runs]
            spans = [slice(*span) for span in zip(starts, ends, strict=True)]
            pairs = list(zip(runs, spans, strict=True))
            firsts = np.concatenate([run.firsts[span] for run, span in pairs])
            seconds = np.concatenate([run.seconds[span] for run, span in pairs])
            order = np.argsort(firsts)
            yield firsts[order], seconds[order]
            starts = ends

    def _write(self, pieces: Iterable[tuple[Halves, Halves]], *, level: int) -> _Run:
        paths = Path(self._folder.new_file()), Path(self._folder.new_file())
        with self._folder.writing(), paths[0].open("wb") as first, paths[1].open("wb") as second:
            for firsts, seconds in pieces:
                first.write(firsts.tobytes())
                second.write(seconds.tobytes())
        with self._folder.writing():
            firsts, seconds = (np.memmap(path, np.uint64, mode="r") for path in paths)
        return _Run(paths, level, firsts, seconds)


def _digest(uri: str) -> bytes:
    return hashlib.blake2b(uri.encode(), digest_size=_DIGEST_BYTES).digest()


def _halves(digests: list[bytes]) -> tuple[Halves, Halves]:
    pairs = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
