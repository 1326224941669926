"""Forged files with right hashes: refused in one line, or taken for exactly what they say."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# pyarrow has no types

import contextlib
import json
import resource
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.rundir.digest import TreeDigest, rows_sha256
from jobs.rundir.directory import RunDirectory
from jobs.rundir.events import EventLog
from jobs.rundir.shard import Receipt
from jobs.rundir.shard_reading import merge_retry
from tests.commands import DONE
from tests.forging import count_items_as_they_are, name_parts_as_they_are
from tests.fuzz.conftest import SEED, cases
from tests.fuzz.finished import finish_six_images
from tests.fuzz.forgeries import FORGE
from tests.fuzz.in_process import fcos, require_sound

MIB = 2**20
MOST_MIB = 1500  # the child's limit, and what Python and its libraries take


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    place = finish_six_images(tmp_path_factory.mktemp("forged"), tiny_weights)
    truth = ("--annotations", place / "truth.json", "--num-actors", 1)
    assert fcos("evaluate", place / "run", *truth).code == DONE
    with EventLog(RunDirectory(str(place / "run"))) as events:
        for shard in range(3):
            events.shard(receipt(shard))
    (log,) = (place / "run" / "events").iterdir()
    log.rename(log.with_name("of-a-test.jsonl"))
    return place


def receipt(shard: int) -> Receipt:
    return Receipt(
        shard=shard,
        num_items=2,
        num_ok=2,
        num_quarantined=0,
        seconds=0.5,
        created=True,
        device="cpu of a test",
    )


def digest_of(run: Path) -> str:
    """The digest of a run's rows, as a reader finds them that checks nothing."""
    digest = TreeDigest()
    for shard in sorted((run / "detections").rglob("*.parquet")):
        table: pa.Table = pq.read_table(shard)
        for retry in sorted(run.glob(f"retries/*/*/{shard.name}")):
            table = merge_retry(table, pq.read_table(retry))
        digest.update(rows_sha256(table))
    return digest.hexdigest()


def commands(place: Path, run: Path, name: str) -> list[tuple[object, ...]]:
    """Commands that read a file of a run; ``detect`` only where it finds nothing to compute."""
    if name.startswith(("evaluation/", "events/")):
        return [("report", run)]
    truth = ("--annotations", place / "truth.json", "--num-actors", 1)
    found: list[tuple[object, ...]] = [
        ("verify", run),
        ("evaluate", run, *truth, "--allow-incomplete"),
        ("report", run),
        ("render", run, "--out", run / "drawn", "--num-actors", 1),
        ("bpr", place / "truth.json", "--run", run, "--num-actors", 1),
    ]
    if not name.startswith("manifest/"):
        weights = ("--weights", place / "tiny.safetensors")
        found.append(("detect", place / "images", "--out", run, *weights))
    return found


def name_again(run: Path, random: np.random.Generator) -> None:
    """Let the index name a forged part, mostly with the items that this now has."""
    name_parts_as_they_are(run)
    if random.random() < 0.7:
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError, pa.ArrowException):
            count_items_as_they_are(run)


def most_bytes() -> tuple[int, int]:
    """The most memory that this process has had, and the most that one of its children has had."""
    of = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    own, children = (resource.getrusage(who).ru_maxrss * 1024 for who in of)
    return own, children


@cases(few=5, many=150)
@pytest.mark.parametrize("name", FORGE)
def test_a_forged_file_is_named_or_changes_the_digest(
    count: int, name: str, finished: Path, tmp_path: Path
):
    before, children_before = most_bytes()
    (path,) = (finished / "run").glob(name)
    sound = path.read_bytes()
    for number in range(count):
        random = np.random.default_rng([SEED, number])
        data = FORGE[name](sound, random)
        run = tmp_path / "run"
        shutil.copytree(finished / "run", run)
        (run / path.relative_to(finished / "run")).write_bytes(data)
        if path.name.startswith("part-"):
            name_again(run, random)
        found = commands(finished, run, name)
        command = found[0 if random.random() < 0.5 else int(random.integers(len(found)))]
        try:
            answer = fcos(*command)
            require_sound(answer)
            if command[0] == "verify" and answer.code == DONE:
                assert json.loads(answer.stdout.splitlines()[-1])["digest"] == digest_of(run)
        except BaseException as error:
            error.add_note(f"case {number} of seed {SEED}: {command}: {data[:2000]!r}")
            raise
        shutil.rmtree(run)
    after, children_after = most_bytes()
    assert after - before < MOST_MIB * MIB
    # Other tests in this process may have had larger children.
    assert children_after <= max(children_before, MOST_MIB * MIB)
    assert RunDirectory(str(finished / "run")).read_manifest()
