"""Says that a run's folders hold files that the run does not have; it never waits long for that."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt

from fcos_core.errors import FcosError
from jobs.inputs.sources import iterate_names
from jobs.rundir.manifest.manifest import Manifest

LIST_S = 10.0
"""Names are listed for so long, and most of it while workers compute."""


class NewFiles:
    """Counts, in a thread, the files in the inputs' folders that are not in the run.

    A run is what its manifest says; this only tells the user of ``--extend``.
    """

    def __init__(self, manifest: Manifest, inputs: tuple[str, ...]) -> None:
        self._manifest = manifest
        self._inputs = inputs
        self._end = time.monotonic() + LIST_S
        self._num_new = 0
        self._is_whole = False
        self._thread = threading.Thread(target=self._count, name="new files", daemon=True)
        self._thread.start()

    def describe(self) -> str | None:
        """Say what is new, after the rest of the time if need be; None where nothing was found."""
        self._thread.join(max(0.0, self._end - time.monotonic()))
        num_new = self._num_new
        if not num_new:
            return None
        at_least = "" if self._is_whole else "at least "
        if num_new == 1:
            return f"{at_least}1 new file is not in this run; --extend adds it"
        return f"{at_least}{num_new} new files are not in this run; --extend adds them"

    def _count(self) -> None:
        try:
            known = self._known()
            if known is None:
                return
            new: set[int] = set()  # inputs may overlap
            for uri in iterate_names(self._inputs):
                if self._is_late():
                    return
                place = int(np.searchsorted(known, hash(uri)))
                if place == len(known) or known[place] != hash(uri):
                    new.add(hash(uri))
                    self._num_new = len(new)
        except FcosError:
            return  # a command that needs the inputs meets this error too
        self._is_whole = True

    def _known(self) -> npt.NDArray[np.int64] | None:
        """The hashes of the run's uris, sorted; None where there are too many to read in time."""
        hashes: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
        for _, items in self._manifest.iterate_tables():
            if self._is_late():
                return None
            uris = items.column("uri").to_pylist()
            hashes.append(np.fromiter(map(hash, uris), np.int64, len(uris)))
        return np.sort(np.concatenate(hashes))

    def _is_late(self) -> bool:
        return time.monotonic() > self._end
