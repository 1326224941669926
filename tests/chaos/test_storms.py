"""Whatever is killed, the finished run has exactly the rows of an undisturbed run.

Images and run lie on a real S3 server, and a fifth of all requests fail.
"""

from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np
import pytest

from jobs.rundir.directory import RunDirectory
from jobs.rundir.proof import Proof, prove
from jobs.settings.detect import DetectConfig
from jobs.storage import join
from tests import s3_servers
from tests.chaos.nodes import Nodes, cluster_environment, running_nodes
from tests.chaos.proxy import FaultProxy, Faults
from tests.chaos.storm import KINDS, Storm, detect_command, draw_strikes
from tests.commands import fcos
from tests.fuzz.finished import finish
from tests.jobs.growing import begin_in_parts

pytestmark = pytest.mark.ray

NUM_IMAGES = 60
SHARD_SIZE = 3
CUT_OFF = 17
SHORT, SHORT_STRIKES = 41, 3  # this seed kills a worker, then a driver, then a node
SEEDS, STRIKES = range(100, 150), 6
SEEDS_IN_PARTS = range(150, 160)  # with a manifest of several parts

FAULT_RATE = 0.2

STALL_S, READ_TIMEOUT_S = 5.0, 2.0  # the client gives up on a stalled answer


@pytest.fixture(scope="module")
def proxy(s3_server: s3_servers.S3Server) -> Generator[FaultProxy]:
    """The proxy in front of the server; no request fails at first."""
    with FaultProxy(s3_server.endpoint, Faults(rate=0.0)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def nodes(s3_server: s3_servers.S3Server, proxy: FaultProxy) -> Generator[Nodes]:
    environment = {
        **cluster_environment(),
        **s3_server.environment(),
        "AWS_ENDPOINT_URL_S3": proxy.endpoint,
        # Adaptive retries would slow down to two requests a second.
        "AWS_RETRY_MODE": "standard",
        "FCOS_S3_READ_TIMEOUT_S": str(READ_TIMEOUT_S),
    }
    with running_nodes(2, cpus_each=1, environment=environment) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def images(s3_server: s3_servers.S3Server) -> str:
    """Small images of three shapes in the bucket, one of them cut off."""
    pixels = np.random.default_rng(3)
    place = f"s3://{s3_servers.BUCKET}/storm/images"
    with s3_servers.client_of(s3_server) as client:
        for i in range(NUM_IMAGES):
            shape = ((48, 64), (64, 48), (40, 40))[i % 3]
            image = cv2.GaussianBlur(pixels.integers(0, 256, (*shape, 3), np.uint8), (7, 7), 2)
            data = cv2.imencode(".png", image)[1].tobytes()
            if i == CUT_OFF:
                data = data[: len(data) // 2]
            client.put_object(Bucket=s3_servers.BUCKET, Key=f"storm/images/{i:03d}.png", Body=data)
    return place


def undisturbed(images: str, out: str, weights: Path) -> Proof:
    """The proof of a run that is computed in this process, from the first shard to the last."""
    finish(config_of(images, out, weights))
    return prove(RunDirectory(out))


def config_of(images: str, out: str, weights: Path) -> DetectConfig:
    return DetectConfig(
        inputs=(images,),
        out=out,
        weights=str(weights),
        shard_size=SHARD_SIZE,
        batch_size=2,
        threads_per_actor=1,
    )


@pytest.mark.parametrize("s3_server", ["seaweedfs"], indirect=True, scope="session")
@pytest.mark.parametrize(
    ("seed", "is_in_parts"),
    [
        pytest.param(SHORT, False, marks=pytest.mark.slow),
        pytest.param(SHORT, True, marks=pytest.mark.storm),
        *(pytest.param(seed, False, marks=pytest.mark.storm) for seed in SEEDS),
        *(pytest.param(seed, True, marks=pytest.mark.storm) for seed in SEEDS_IN_PARTS),
    ],
)
def test_a_storm_changes_no_bit(
    s3: str,
    proxy: FaultProxy,
    images: str,
    tiny_weights: Path,
    nodes: Nodes,
    seed: int,
    *,
    is_in_parts: bool,
) -> None:
    expected = undisturbed(images, join(s3, "undisturbed"), tiny_weights)
    out = join(s3, "run")
    if is_in_parts:  # of seven items, which three shards reach
        begun = begin_in_parts(config_of(images, out, tiny_weights))
        assert len(begun.manifest().parts) == -(-NUM_IMAGES // (3 * SHARD_SIZE))
    num_strikes = SHORT_STRIKES if seed == SHORT else STRIKES
    storm = Storm(
        detect_command(images, out, tiny_weights, num_actors=2, shard_size=SHARD_SIZE),
        RunDirectory(out),
        nodes,
        nodes.environment,
        draw_strikes(seed, num_strikes=num_strikes, num_shards=NUM_IMAGES // SHARD_SIZE),
        [],
    )
    proxy.met.clear()
    proxy.faults = Faults(seed=seed, rate=FAULT_RATE, stall_s=STALL_S)
    try:
        found = storm.run_until_complete()
    finally:
        proxy.faults = Faults(rate=0.0)
    print(f"seed {seed}: {', '.join(storm.happened)}; {dict(proxy.met)}")  # noqa: T201
    assert (found["digest"], found["planned"]) == (expected.digest, NUM_IMAGES)
    assert (found["missing"], found["duplicated"], found["quarantined"]) == (0, 0, 1)
    verified = fcos("verify", out, environment=nodes.environment).result()
    assert verified["digest"] == expected.digest
    if seed == SHORT:
        happened = " ".join(storm.happened)
        assert all(f"{kind} at" in happened for kind in KINDS), happened
