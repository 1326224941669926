"""Planning a run over a million keys on S3: seconds, and the most memory the driver holds.

The keys come from ``listing_server.py``, a process of its own that answers ListObjectsV2 from a
counter; what is timed is our side: listing, order, numbers and shards, and writing the manifest.
Each plan is made in a fresh process. Writes ``results/<date>_<hardware>_planning.md``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from machine import circumstances, page_name
from planning.listing_server import ROOT

HERE = Path(__file__).resolve().parent
CASES = ((1, "one flat folder"), (100, "100 folders"))
_MIB = 2**20


def main() -> int:
    """Run the benchmark, or only one of its plans.

    Returns:
        0.
    """
    options = _options()
    if options.plan:
        print(json.dumps(plan(options.plan)))
        return 0
    rows: list[str] = []
    for folders, name in CASES:
        with server(options.keys, folders) as environment:
            rounds = [one_plan(environment) for _ in range(options.rounds)]
        assert {one["items"] for one in rounds} == {options.keys}
        rows.append(_row(name, options.keys, rounds))
        print(rows[-1], file=sys.stderr, flush=True)
    text = page(options.keys, options.rounds, rows)
    (HERE / "results" / page_name("planning")).write_text(text)
    print(text)
    return 0


def plan(out: str) -> dict[str, Any]:
    """List the bucket and write a manifest; say how long each took, and the memory."""
    import pyarrow as pa

    from jobs.inputs.sources import enumerate_inputs
    from jobs.planning.manifest import PlannedItems
    from jobs.planning.ordered_items import OrderedItems
    from jobs.rundir.directory import RunDirectory
    from jobs.storage import storage_for

    storage_for("s3://bucket")
    before_mib, started = _resident_mib(), time.perf_counter()
    listing = enumerate_inputs([f"s3://bucket/{ROOT}"])
    listed = time.perf_counter()
    listed_mib = _resident_mib()
    planned = PlannedItems(OrderedItems(listing.items, lambda _: {}), 256)
    directory = RunDirectory(out)
    table = pa.concat_tables(planned.tables())
    directory.create_manifest(table, {"run_id": "bench", "fingerprint": "0"})
    return {
        "items": planned.num_items,
        "list_s": listed - started,
        "write_s": time.perf_counter() - listed,
        "before_mib": before_mib,
        "listed_mib": listed_mib,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "cpu_s": time.process_time(),
        "manifest_mib": Path(directory.manifest_uri).stat().st_size / _MIB,
        "threads": threading.active_count(),
    }


def one_plan(environment: dict[str, str]) -> dict[str, Any]:
    """Plan a run in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        done = subprocess.run(  # noqa: S603 -- our own command
            [sys.executable, __file__, "--plan", f"{folder}/run"],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    return json.loads(done.stdout)


@contextlib.contextmanager
def server(keys: int, folders: int) -> Generator[dict[str, str]]:
    """Run the server; give the environment that leads to it."""
    command = [sys.executable, str(HERE / "planning" / "listing_server.py")]
    with subprocess.Popen(  # noqa: S603 -- our own command
        [*command, "--keys", str(keys), "--folders", str(folders)],
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            port = int(running.stdout.readline())
            yield {
                **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FCOS_"))},
                "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
                "AWS_REGION": "us-east-1",
                "FCOS_S3_ANONYMOUS": "1",
            }
        finally:
            running.kill()


def page(keys: int, rounds: int, rows: list[str]) -> str:
    """The page of results."""
    head = circumstances(
        f"python benchmarks/bench_planning.py --keys {keys} --rounds {rounds}",
        ("boto3", "botocore", "pyarrow"),
        [("what", f"{keys:,} keys, listed and written as a manifest; medians of {rounds} plans")],
    )
    return (
        f"# Planning {keys:,} keys on S3\n\n{head}\n\n"
        "| bucket | list s | keys/s | write s | total s | CPU s | peak MiB | MiB before | "
        "manifest MiB |\n|---|---|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "The server runs beside it on the same cores. `peak MiB` is the most that the driver had "
        "resident (`ru_maxrss`),\n`MiB before` what Python and its libraries take before the "
        "first key.\n"
    )


def _row(name: str, keys: int, rounds: list[dict[str, Any]]) -> str:
    m = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
    return (
        f"| {name} | {m['list_s']:.1f} | {keys / m['list_s']:,.0f} | {m['write_s']:.1f} | "
        f"{m['list_s'] + m['write_s']:.1f} | {m['cpu_s']:.1f} | {m['peak_mib']:.0f} | "
        f"{m['before_mib']:.0f} | {m['manifest_mib']:.0f} |"
    )


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--plan", metavar="RUN", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
