"""Whatever dies, the finished run holds exactly what an undisturbed run holds."""

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jobs.tables.run_directory import RunDirectory
from tests.chaos.nodes import ROOT, Nodes, cluster_environment, running_nodes
from tests.chaos.storm import TIMEOUT_S, Storm, detect_command, forecast
from tests.jobs.runtime.tiny import save_tiny

pytestmark = pytest.mark.ray

NUM_PICTURES = 120
SHARD_SIZE = 2
NUM_STRIKES = 5


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small pictures of three shapes, one of them cut off."""
    folder = tmp_path_factory.mktemp("storm")
    pixels = np.random.default_rng(3)
    for i in range(NUM_PICTURES):
        shape = ((48, 64), (64, 48), (40, 40))[i % 3]
        picture = cv2.GaussianBlur(pixels.integers(0, 256, (*shape, 3), np.uint8), (7, 7), 2)
        assert cv2.imwrite(str(folder / f"{i:03d}.png"), picture)
    whole = (folder / "017.png").read_bytes()
    (folder / "017.png").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def nodes() -> Generator[Nodes]:
    with running_nodes(2, cpus_each=1, environment=cluster_environment()) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, nodes: Nodes, pictures: Path, weights: Path
) -> dict[str, Any]:
    """What the run comes to when nothing happens."""
    out = str(tmp_path_factory.mktemp("runs") / "undisturbed")
    return fcos(
        *detect_command(str(pictures), out, weights, num_actors=2, shard_size=SHARD_SIZE),
        *("--address", nodes.address),
        environment=dict(nodes.environment),
    )


def fcos(*arguments: str, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "seed", [*range(2), *(pytest.param(i, marks=pytest.mark.storm) for i in range(2, 52))]
)
def test_a_storm_changes_no_bit(
    tmp_path: Path,
    pictures: Path,
    weights: Path,
    nodes: Nodes,
    undisturbed: dict[str, Any],
    seed: int,
) -> None:
    out = str(tmp_path / "run")
    num_shards = NUM_PICTURES // SHARD_SIZE
    storm = Storm(
        detect_command(str(pictures), out, weights, num_actors=2, shard_size=SHARD_SIZE),
        RunDirectory(out),
        nodes,
        nodes.environment,
        forecast(seed, num_strikes=NUM_STRIKES, num_shards=num_shards),
        [],
    )
    said = storm.ride_out()
    same = ("digest", "digest_class", "planned", "ok", "quarantined", "missing", "duplicated")
    assert {key: said[key] for key in same} == {key: undisturbed[key] for key in same}, (
        storm.happened
    )
    assert (said["missing"], said["duplicated"], said["quarantined"]) == (0, 0, 1)
    proved = fcos("verify", out, environment=dict(nodes.environment))
    assert proved["digest"] == undisturbed["digest"]
    print(seed, storm.happened)
