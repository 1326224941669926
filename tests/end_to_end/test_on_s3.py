"""The whole job with everything it reads and writes on S3, its driver killed on the way."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.commands import main
from jobs.rundir.proof import prove
from jobs.storage.s3.client import disconnect
from jobs.storage.s3.storage import S3Storage
from jobs.worker.worker import Worker
from tests.commands import fcos, started
from tests.jobs.worker.runs import begin_run, record_run, worker_settings
from tests.s3_servers import SECRET_KEY

SHARD_SIZE = 2
CONFIG = """\
inputs: [{s3}/coco.json]
annotations: {s3}/coco.json
weights: {s3}/tiny.safetensors
out: {s3}/run
shard_size: 2
batch_size: 2
threads_per_actor: 1
num_actors: 1
"""

NO_CREDENTIALS = (
    "no AWS credentials were found: set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or FCOS_S3_ANONYMOUS=1 for a public bucket"
)

storage = S3Storage()


def upload(s3: str, images: Path, weights: Path) -> None:
    names = sorted(path.name for path in images.iterdir())
    for name in names:
        storage.write(f"{s3}/images/{name}", (images / name).read_bytes())
    document = {
        "images": [
            {"id": 100 + i, "file_name": name, "width": 40, "height": 40}
            for i, name in enumerate(names)
        ],
        "categories": [{"id": i, "name": f"thing_{i}"} for i in (3, 7, 11)],
        "annotations": [
            {"id": i + 1, "image_id": 100 + i, "category_id": 3, "bbox": [4, 4, 20, 20]}
            | {"area": 400, "iscrowd": 0}
            for i in range(len(names))
        ],
    }
    storage.write(f"{s3}/coco.json", json.dumps(document).encode())
    storage.write(f"{s3}/tiny.safetensors", weights.read_bytes())
    storage.write(f"{s3}/run.yaml", CONFIG.format(s3=s3).encode())


def undisturbed(out: Path, s3: str, weights: Path) -> str | None:
    """The digest of the same run, computed in this process and written to local disk."""
    run, shards = begin_run(out, f"{s3}/coco.json", shard_size=SHARD_SIZE)
    record_run(run)
    worker = Worker(worker_settings(run, weights))
    for shard in shards:
        worker.process(shard)
    worker.close()
    return prove(run).digest


def result_without_secrets(*arguments: str) -> dict[str, Any]:
    answer = fcos(*arguments)
    assert SECRET_KEY not in answer.stdout + answer.stderr
    return answer.result()


@pytest.mark.ray
@pytest.mark.slow
def test_the_whole_job_on_s3_survives_its_driver_and_leaks_no_secret(
    s3: str, tmp_path: Path, images: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # copies of weights go there
    upload(s3, images, tiny_weights)
    expected = undisturbed(tmp_path / "calm", s3, tiny_weights)
    with started("run", "--config", f"{s3}/run.yaml") as driver:
        driver.wait_until(lambda: len(list(storage.list(f"{s3}/run/detections"))) >= 2)
        driver.kill()
    summary = result_without_secrets("run", "--config", f"{s3}/run.yaml")
    assert summary["digest"] == expected
    assert (summary["planned"], summary["quarantined"], summary["missing"]) == (20, 2, 0)
    assert summary["AP"] >= 0
    written = [info.uri for info in storage.list(f"{s3}/run")]
    assert set(summary["paths"].values()) - {f"{s3}/run"} <= set(written)
    for name in ("report/index.html", "evaluation/metrics.json", "bpr/bpr.json", "run.json"):
        assert f"{s3}/run/{name}" in written
    assert all(SECRET_KEY.encode() not in storage.read(uri) for uri in written)
    assert not [uri for uri in written if "/.tmp-" in uri]
    out = f"{s3}/elsewhere/metrics.json"
    result_without_secrets(
        *("evaluate", f"{s3}/run", "--annotations", f"{s3}/coco.json", "--out", out)
    )
    assert json.loads(storage.read(out))["AP"] == summary["AP"]


def test_a_command_without_credentials_says_what_to_set(
    s3: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_weights: Path,
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    disconnect()
    code = main(["detect", s3, "--out", f"{tmp_path}/run", "--weights", str(tiny_weights)])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err == f"error: '{s3}/' cannot be listed: {NO_CREDENTIALS}\n"
    code = main(["verify", f"{s3}/run"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    index = f"{s3}/run/manifest/index-000000.parquet"
    assert err == f"error: '{index}' cannot be read: {NO_CREDENTIALS}\n"
    assert not (tmp_path / "run").exists()
