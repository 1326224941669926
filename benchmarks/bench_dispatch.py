"""What dispatching shards costs: actors only sleep, so that all other time is overhead.

``python benchmarks/bench_dispatch.py`` dispatches 100,000 items in 2,000 shards to actors that
sleep for a second per shard, and again to actors that do not sleep at all. It writes a page of
results.
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from machine import circumstances, page_name
from scale.no_model import settings_without_a_model

from jobs.dispatch.dispatch import dispatch
from jobs.parallel.ray_session import connected
from jobs.rundir.rows import ManifestItem
from jobs.rundir.shard import Outcome, Receipt, Shard
from jobs.worker.messages import WorkerSettings

HERE = Path(__file__).parent
MIB = 2**20


class Sleeper:
    """A worker that sleeps as long as the name of its run says, and records when.

    It stands in for ``Worker`` through the seam that ``dispatch`` has for it, in the same actor,
    and loads neither torch nor a model. Like a worker it answers for a shard one call later.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        folder, _, seconds = settings.run_uri.rpartition("/")
        self._seconds = float(seconds)
        self._notes = Path(tempfile.mkstemp(dir=folder, suffix=".notes")[1])
        self._pending: list[Outcome] = []

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Outcome]:
        """Sleep for a shard."""
        began = time.monotonic()
        time.sleep(self._seconds)
        with self._notes.open("a", encoding="ascii") as notes:
            notes.write(f"{began} {time.monotonic()}\n")
        outcomes, self._pending = self._pending, [_receipt(shard, self._seconds)]
        return outcomes if upcoming is not None else [*outcomes, *self.finish()]

    def finish(self) -> list[Outcome]:
        """Give the last receipt."""
        outcomes, self._pending = self._pending, []
        return outcomes

    def warm_up(self) -> None:
        """Do nothing: there is no model."""

    def run_trial(self, item: ManifestItem) -> None:
        """Do nothing: no item is a suspect."""


def _receipt(shard: Shard, seconds: float) -> Receipt:
    return Receipt(
        shard=shard.number,
        num_items=len(shard.items),
        num_ok=len(shard.items),
        num_quarantined=0,
        seconds=seconds,
        created=True,
        device="none",
    )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One dispatch.

    Attributes:
        num_actors: that worked.
        shard_s: a shard sleeps for.
        seconds: from the first shard's begin to the last one's end.
        working: share of the actors' time, each from its first to its last shard, that was sleep.
        gap_ms: median time of an actor between two shards.
        worst_gap_ms: the longest gap.
        driver_mib: the driver's peak memory, its imports included.
        grown_mib: the part of this peak that came during dispatch.
    """

    num_actors: int
    shard_s: float
    seconds: float
    working: float
    gap_ms: float
    worst_gap_ms: float
    driver_mib: float
    grown_mib: float


def shards_of(num_shards: int, num_items: int) -> list[Shard]:
    """Shards with items as long as real ones."""
    per_shard = num_items // num_shards
    return [
        Shard(
            number,
            tuple(
                ManifestItem(
                    item_id=i,
                    shard=number,
                    kind="image",
                    uri=f"s3://a-bucket-with-a-usual-name/photos/2026/11/22/{i:012d}.jpg",
                    image_id=i + 1,
                    size_bytes=200_000,
                    etag="d41d8cd98f00b204e9800998ecf8427e",
                )
                for i in range(number * per_shard, (number + 1) * per_shard)
            ),
        )
        for number in range(num_shards)
    ]


def measure(shards: list[Shard], *, shard_s: float, num_actors: int, folder: Path) -> Measured:
    """Dispatch to sleeping actors on the Ray of this process."""
    notes = folder / f"notes-{shard_s}"
    notes.mkdir()
    receipts: list[int] = []
    before = _peak_mib()
    dispatch(
        shards,
        settings_without_a_model(f"{notes}/{shard_s}", "benchmark"),
        num_actors=num_actors,
        address=None,
        on_receipt=lambda receipt: receipts.append(receipt.shard),
        make_worker=Sleeper,
    )
    assert sorted(receipts) == [shard.number for shard in shards]
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for path in notes.iterdir():
        for line in path.read_text(encoding="ascii").splitlines():
            began, ended = map(float, line.split())
            spans[path.name].append((began, ended))
    everything = [span for ours in spans.values() for span in ours]
    assert len(everything) == len(shards)
    gaps = sorted(
        after[0] - before[1] for ours in spans.values() for before, after in pairwise(ours)
    )
    present = sum(ours[-1][1] - ours[0][0] for ours in spans.values())
    return Measured(
        num_actors=len(spans),
        shard_s=shard_s,
        seconds=max(end for _, end in everything) - min(begin for begin, _ in everything),
        working=shard_s * len(everything) / present,
        gap_ms=1e3 * gaps[len(gaps) // 2],
        worst_gap_ms=1e3 * gaps[-1],
        driver_mib=_peak_mib(),
        grown_mib=_peak_mib() - before,
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def report(
    measured: list[Measured], num_shards: int, num_items: int, *, load: float, command: str
) -> str:
    """The page of results."""
    rows = "\n".join(
        f"| {m.shard_s:g} s | {m.num_actors} | {m.seconds:.1f} s | {m.working:.2%} | "
        f"{m.gap_ms:.2f} ms | {m.worst_gap_ms:.0f} ms | {1e3 * m.seconds / num_shards:.2f} ms | "
        f"{m.driver_mib:.0f} MiB | {m.grown_mib:.0f} MiB |"
        for m in measured
    )
    about = [
        ("work", f"{num_items} items in {num_shards} shards"),
        ("machine", f"load average {load:.1f} before the start (0 is a machine at rest)"),
    ]
    head = circumstances(command, ["ray"], about)
    columns = [
        *("a shard takes", "actors", "first to last shard", "actor time spent working"),
        *("gap between two shards of an actor, median", "worst gap", "wall time per shard"),
        *("driver's peak memory", "grown while dispatching"),
    ]
    return f"""# What dispatching shards costs

{head}

Actors that only sleep, made through the seam that `dispatch` has for its worker; everything else is
what `fcos detect` runs: one call per shard, the next shard announced with each call, receipts one
call later. All processes share the machine's cores, the driver's too, so gaps hold waiting for one.

| {" | ".join(columns)} |
|{"---|" * len(columns)}
{rows}

Where shards take no time, the wall time per shard is what the driver needs to hand one out; few
actors take part, since the work is over before the others have come.
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=2_000)
    parser.add_argument("--actors", type=int, default=32)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    load, _, _ = os.getloadavg()
    shards = shards_of(arguments.shards, arguments.items)
    with (
        tempfile.TemporaryDirectory() as folder,
        connected(None, num_cpus=arguments.actors),
    ):
        measured = [
            measure(shards, shard_s=s, num_actors=arguments.actors, folder=Path(folder))
            for s in (1.0, 0.0)
        ]
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    page = report(measured, arguments.shards, arguments.items, load=load, command=command)
    path = arguments.out / page_name("dispatch")
    path.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
