"""The programs that ``bench_detect.py`` compares: their commands, and what they leave behind."""

# pyarrow has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from process_tree import Measured
from same_detections import Found

from jobs.rundir.directory import RunDirectory
from jobs.rundir.shard_reading import iterate_rows

HERE = Path(__file__).resolve().parents[1]
FCOS = Path(sys.executable).with_name("fcos")
BOX = ("x_min", "y_min", "x_max", "y_max")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What all contestants are given.

    Attributes:
        photos: a folder of photos and nothing else.
        num_photos: in it.
        weights: a state dict of torchvision's ``fcos_resnet50_fpn``.
        score_threshold: detections lie above.
        device: ``cpu`` or ``cuda``.
        workers: processes that hold a model, where a contestant has several.
        threads: of each of them.
        is_auto: whether workers and threads are what ``fcos detect`` chooses by itself.
        ray_data_batch: photos per forward pass of the Ray Data pipeline.
    """

    photos: Path
    num_photos: int
    weights: Path
    score_threshold: float
    device: str
    workers: int
    threads: int
    is_auto: bool
    ray_data_batch: int


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a contestant says of a run.

    Attributes:
        own_s: by its own clock; what that covers differs.
        steady_s: from the first photo to the last detection, without start-up.
        found: detections by file name.
    """

    own_s: float
    steady_s: float
    found: Mapping[str, Found]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One run of a contestant: as it was seen from outside, and by its own account."""

    measured: Measured
    account: Account


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One of the programs.

    Attributes:
        name: in tables.
        command: gives the command that writes to a path that is not there yet.
        read: gives the account from that path and the JSON that the program printed.
    """

    name: str
    command: Callable[[Setup, Path], list[str]]
    read: Callable[[Path, Mapping[str, Any]], Account]

    def read_turn(self, out: Path, measured: Measured) -> Turn:
        """Read what a run left behind."""
        said = json.loads(measured.stdout.splitlines()[-1])
        return Turn(measured=measured, account=self.read(out, said))


def environment() -> dict[str, str]:
    """Give what all run under: no cluster and no thread counts but those of the command."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("RAY_", "OMP_", "MKL_"))
    }
    # Without a token in its environment, Ray writes one to the home directory.
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    # Ray makes its workers nice: on a machine that does anything else, the loop would be ahead.
    ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    return {**kept, **token, **ray}


def fcos_command(photos: Path, weights: Path, score_threshold: float, out: Path) -> list[str]:
    """Give the command a user types, with all but the threshold left to ``auto``."""
    command = [str(FCOS), "detect", str(photos), "--weights", str(weights), "--out", str(out)]
    return [*command, "--score-threshold", str(score_threshold)]


def _our_command(setup: Setup, out: Path) -> list[str]:
    command = fcos_command(setup.photos, setup.weights, setup.score_threshold, out)
    if setup.is_auto:
        return command
    threads = ["--threads-per-actor", str(setup.threads)]
    return [*command, "--num-actors", str(setup.workers), *threads]


def _loop_command(setup: Setup, out: Path) -> list[str]:
    threads = setup.workers * setup.threads
    return [*_peer("torchvision_loop.py", setup, out), "--threads", str(threads)]


def _ray_data_command(setup: Setup, out: Path) -> list[str]:
    command = [*_peer("ray_data.py", setup, out), "--threads", str(setup.threads)]
    return [*command, "--actors", str(setup.workers), "--batch-size", str(setup.ray_data_batch)]


def _peer(script: str, setup: Setup, out: Path) -> list[str]:
    paths = [HERE / "peers" / script, setup.photos, setup.weights, out]
    limits = ["--device", setup.device, "--score-threshold", str(setup.score_threshold)]
    return [sys.executable, *(str(path) for path in paths), *limits]


def _read_fcos(out: Path, said: Mapping[str, Any]) -> Account:
    found: dict[str, Found] = {}
    for table in iterate_rows(RunDirectory(str(out)), columns=("uri", "status", "detections")):
        for row in table.to_pylist():
            if row["status"] != "ok":
                raise SystemExit(f"fcos detect quarantined {row['uri']}: the peers could not")
            found[Path(row["uri"]).name] = Found(
                boxes=_boxes(row["detections"]),
                scores=np.array([one["score"] for one in row["detections"]]),
                labels=np.array([one["category_id"] for one in row["detections"]], np.int64),
            )
    (events,) = (out / "events").iterdir()
    lines = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
    seconds = [line["seconds"] for line in lines if line["event"] == "shard"]
    workers = next(line["workers"] for line in lines if line["event"] == "begin")
    steady_s = sum(seconds) / min(workers, len(seconds))
    return Account(own_s=said["seconds"], steady_s=steady_s, found=found)


def _read_loop(out: Path, said: Mapping[str, Any]) -> Account:
    found = {
        name: Found(
            boxes=np.array(one["boxes"], np.float64).reshape(-1, 4),
            scores=np.array(one["scores"]),
            labels=np.array(one["labels"], np.int64),
        )
        for name, one in json.loads(out.read_text(encoding="utf-8")).items()
    }
    return Account(own_s=said["seconds"], steady_s=said["seconds"], found=found)


def _read_ray_data(out: Path, said: Mapping[str, Any]) -> Account:
    rows = pq.read_table(out).to_pylist()
    by_photo: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_photo.setdefault(Path(row["path"]).name, []).append(row)
    found = {
        name: Found(
            boxes=_boxes(detections),
            scores=np.array([one["score"] for one in detections]),
            labels=np.array([one["label"] for one in detections], np.int64),
        )
        for name, detections in by_photo.items()
    }
    steady_s = max(row["ended_s"] for row in rows) - min(row["began_s"] for row in rows)
    return Account(own_s=said["seconds"], steady_s=steady_s, found=found)


def _boxes(detections: list[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    boxes = [[one[side] for side in BOX] for one in detections]
    return np.array(boxes, np.float64).reshape(-1, len(BOX))


OURS = Contestant(name="fcos detect", command=_our_command, read=_read_fcos)
LOOP = Contestant(name="torchvision loop", command=_loop_command, read=_read_loop)
RAY_DATA = Contestant(name="Ray Data", command=_ray_data_command, read=_read_ray_data)
CONTESTANTS = (OURS, LOOP, RAY_DATA)
