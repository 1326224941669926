"""Stand-ins for the worker that need no torch, and die of the items whose uris say so."""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from fcos_core.errors import ConfigError, DeviceError
from jobs.rundir.rows import ManifestItem
from jobs.rundir.shard import Failure, Outcome, Receipt, Shard
from jobs.worker.messages import WorkerSettings


class Sleeper:
    """Sleeps for ``REST_S`` per item and returns a receipt."""

    REST_S = 0.0

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Outcome]:
        del upcoming
        for item in shard.sound:
            self.run_trial(item)
        return [receipt_of(shard)]

    def finish(self) -> list[Outcome]:
        return []

    def warm_up(self) -> None:
        pass

    def run_trial(self, item: ManifestItem) -> None:
        del item
        time.sleep(self.REST_S)


class Scripted(Sleeper):
    """Does what an item's uri says; ``WAY unless FILE`` creates the file, and happens once."""

    def run_trial(self, item: ManifestItem) -> None:
        way, _, once = item.uri.partition(" unless ")
        if once and Path(once).exists():
            return
        if once:
            Path(once).touch()
        if way.startswith("SIG"):
            with contextlib.suppress(OSError):  # SIGKILL
                signal.signal(signal.Signals[way], signal.SIG_DFL)  # under nohup SIGHUP is ignored
            os.kill(os.getpid(), signal.Signals[way])
            time.sleep(3600)
        _WAYS.get(way, time.monotonic)()


def _hog() -> None:
    held = b"x" * (400 * 2**20)
    time.sleep(3600)
    del held


def _raise(error: Exception) -> None:
    raise error


_WAYS: dict[str, Callable[[], object]] = {
    "exit": lambda: os._exit(3),
    "system_exit": lambda: sys.exit(4),
    "segfault": lambda: ctypes.string_at(0),
    "hang": lambda: time.sleep(3600),
    "hog": _hog,
    "device": lambda: _raise(DeviceError("CUDA error: an illegal memory access")),
    "memory": lambda: _raise(MemoryError("no more")),
    "config": lambda: _raise(ConfigError("no such thing")),
    "bug": lambda: _raise(ZeroDivisionError("by nothing")),
}


class BrokenDevice(Scripted):
    """Cannot compute a known-good image."""

    def warm_up(self) -> None:
        os._exit(9)


class BreaksTheDevice(Scripted):
    """Cannot compute a known-good image, in any process, once an item was computed."""

    def warm_up(self) -> None:
        if Path(self.settings.run_uri).exists():
            os._exit(9)

    def run_trial(self, item: ManifestItem) -> None:
        Path(self.settings.run_uri).touch()
        super().run_trial(item)


class DiesOfTheFourth(Scripted):
    """Dies of the fourth item."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        self.num_done = 0

    def run_trial(self, item: ManifestItem) -> None:
        super().run_trial(item)
        self.num_done += 1
        if self.num_done == 4:
            os._exit(1)


class RefusedByStorage(Sleeper):
    """Returns a failure, as if storage refused every shard."""

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Outcome]:
        del upcoming
        return [Failure(shard=shard.number, error="503 SlowDown")]


class MakesArrays(Sleeper):
    """Makes an array of pyarrow, and then a file of the item's uri if pandas is not imported."""

    def run_trial(self, item: ManifestItem) -> None:
        pa.array([1.5])
        if "pandas" not in sys.modules:
            Path(item.uri).touch()


class NeverStarts(Sleeper):
    """Has a device that does not work."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        raise DeviceError("CUDA error: no kernel image is available")


def receipt_of(shard: Shard) -> Receipt:
    """The receipt of a shard that is computed."""
    return Receipt(
        shard=shard.number,
        num_items=len(shard.items),
        num_ok=len(shard.sound),
        num_quarantined=len(shard.poison),
        seconds=0.001,
        created=True,
        device="none",
    )


def shard_of(number: int, *uris: str) -> Shard:
    """A shard of images with these uris."""
    items = (
        ManifestItem(item_id=100 * number + i, shard=number, kind="image", uri=uri, image_id=i + 1)
        for i, uri in enumerate(uris)
    )
    return Shard(number, tuple(items))


class NeverStartsOnOneNode(Sleeper):
    """Has a device that does not work, on the node that a file beside the run names."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        import ray

        bad = (Path(settings.run_uri).parent / "bad").read_text()
        if ray.get_runtime_context().get_node_id() == bad:
            raise DeviceError("CUDA error: no kernel image is available")
