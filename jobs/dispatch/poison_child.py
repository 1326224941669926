"""A fresh process that computes items one by one and writes nothing: what survives is fine.

``Examination`` starts it, and learns from the way it ends which item kills. It sends None once it
has computed an image that is known to be good, and after each item; or why it cannot go on.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from fcos_core.errors import DeviceError, FcosError
from jobs.parallel.child_process import die_with_the_parent

if TYPE_CHECKING:
    from jobs.rundir.rows import ManifestItem
    from jobs.worker.messages import MakeWorker, WorkerSettings


def main(descriptor: int) -> None:
    """Do what the other end of a connection asks for."""
    die_with_the_parent()
    with Connection(descriptor) as connection:
        try:
            _run_trial(connection, *connection.recv())
        except MemoryError as error:
            connection.send(DeviceError(f"out of memory: {error}"))
        except FcosError as error:
            connection.send(error)
        except Exception:  # noqa: BLE001 -- a bug, which the parent raises
            connection.send(RuntimeError(traceback.format_exc()))


def _run_trial(
    connection: Connection,
    make_worker: MakeWorker,
    settings: WorkerSettings,
    items: Sequence[ManifestItem],
) -> None:
    worker = make_worker(settings)
    worker.warm_up()
    connection.send(None)
    for item in items:
        worker.run_trial(item)
        connection.send(None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
