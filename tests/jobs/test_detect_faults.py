"""Runs on machines that fail them: full and read-only disks, a decoder that crashes."""

import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torchvision.io import decode_image as torchvision_decode

import jobs.worker.prefetch as prefetch_module
from fcos_core.errors import CheckpointError, ConfigError, IncompleteRunError, StorageError
from jobs.detect import DetectConfig, DetectResult, run
from jobs.dispatch.dispatch import dispatch
from jobs.parallel.resources import local_resources
from jobs.planning.begin import begin_run as write_plan
from jobs.planning.begin import plan_run
from jobs.planning.model_card import read_model_card
from jobs.rundir.directory import RunDirectory
from jobs.rundir.shard import Receipt
from jobs.worker.messages import WorkerSettings
from jobs.worker.worker import Worker
from tests.jobs.worker.runs import begin_run, rows_of, worker_settings

PAGE_BYTES = 4096  # what a file of a disk in memory takes more of


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Callable[[str], Path]]:
    """Mount a disk in memory; a second call mounts it again with other options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted: list[str] = []

    def mount(options: str) -> Path:
        options = ",".join([*(["remount"] if mounted else []), options])
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder],  # noqa: S607
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(options)
        return folder

    yield mount
    if mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)  # noqa: S607


def config_of(images: Path, weights: Path, out: Path) -> DetectConfig:
    return DetectConfig(
        inputs=(str(images),),
        out=str(out),
        weights=str(weights),
        shard_size=2,
        batch_size=2,
        threads_per_actor=1,
        num_actors=2,
    )


def detected(config: DetectConfig) -> DetectResult:
    result = run(config)
    assert isinstance(result, DetectResult)
    return result


def test_a_read_only_disk_is_refused_before_anything_is_computed(
    disk: Callable[[str], Path], images: Path, tiny_weights: Path
) -> None:
    out = disk("size=1m") / "run"
    disk("ro")
    with pytest.raises(ConfigError, match=r"index-000000.*cannot be written: Read-only file"):
        run(config_of(images, tiny_weights, out))


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("is_dry", [False, True])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda tensor: torch.full_like(tensor, torch.nan), "holds a value that is not finite"),
        (lambda _: None, "is missing|lacks"),
        (lambda tensor: tensor[:1].clone(), "has shape"),
    ],
    ids=["not finite", "missing", "another shape"],
)
def test_a_damaged_checkpoint_is_refused_before_a_run_is_begun(
    tmp_path: Path,
    images: Path,
    tiny_weights: Path,
    damage: Callable[[torch.Tensor], torch.Tensor | None],
    reason: str,
    *,
    is_dry: bool,
) -> None:
    with safe_open(tiny_weights, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    name = next(name for name in tensors if name.startswith("backbone") and tensors[name].dim() > 1)
    damaged = damage(tensors.pop(name))
    if damaged is not None:
        tensors[name] = damaged
    save_file(tensors, tmp_path / "damaged.safetensors", metadata)
    config = config_of(images, tmp_path / "damaged.safetensors", tmp_path / "run")
    with pytest.raises(CheckpointError, match=reason):
        run(config.model_copy(update={"dry_run": is_dry}))
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_full_disk_leaves_whole_shards_and_the_run_goes_on_once_there_is_room(
    disk: Callable[[str], Path], tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    expected = detected(config_of(images, tiny_weights, tmp_path / "whole"))
    config = config_of(images, tiny_weights, disk("size=64k") / "run")
    failed = detected(config)
    assert failed.failure is not None
    assert "No space left on device" in failed.failure
    assert 0 < failed.proof.ok < expected.proof.ok
    assert all("missing" in problem for problem in failed.proof.problems)
    disk("size=4m")
    assert detected(config).proof.digest == expected.proof.digest


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_disk_that_turns_read_only_ends_the_run_and_it_goes_on_later(
    disk: Callable[[str], Path],
    tmp_path: Path,
    images: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = detected(config_of(images, tiny_weights, tmp_path / "whole"))
    config = config_of(images, tiny_weights, disk("size=4m") / "run")
    receipts: list[int] = []

    def on_third(self: Any, receipt: Receipt) -> None:
        del self
        receipts.append(receipt.shard)
        if len(receipts) == 3:
            disk("ro")

    with monkeypatch.context() as patch:
        patch.setattr("jobs.rundir.events.EventLog.shard", on_third)
        with pytest.raises(ConfigError, match="cannot be written: Read-only file system"):
            run(config)
    disk("rw")
    again = detected(config)
    assert again.num_rows < expected.num_rows
    assert again.proof.digest == expected.proof.digest


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_a_disk_too_full_for_the_manifest_is_a_refusal_and_later_a_run_that_goes_on(
    disk: Callable[[str], Path], images: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    whole = config_of(images, tiny_weights, tmp_path / "whole")
    plan = plan_run(whole, read_model_card(whole.weights), local_resources)
    write_plan(RunDirectory(whole.out), plan)
    files = (Path(whole.out) / "manifest").iterdir()
    num_pages = sum(-(-path.stat().st_size // PAGE_BYTES) for path in files)
    for too_few in (1, num_pages - 1):
        config = config_of(images, tiny_weights, disk(f"size={4 * too_few}k") / "run")
        with pytest.raises(StorageError, match=r"/manifest/.*: No space left"):
            run(config)
        assert not RunDirectory(config.out).exists()  # nothing was started
        shutil.rmtree(config.out)
    config = config_of(images, tiny_weights, disk(f"size={4 * num_pages}k") / "run")
    with pytest.raises(IncompleteRunError, match="the same command goes on from here") as caught:
        run(config)
    assert "run.json' cannot be written: No space left on device" in str(caught.value)


class CrashingWorker(Worker):
    """Decodes with a decoder that dies of one real PNG."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings)
        prefetch_module.decode_image = decode_with_torchvision


def decode_with_torchvision(data: bytes, **_: object) -> Any:
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return torchvision_decode(encoded, mode="RGB").permute(1, 2, 0).contiguous().numpy()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_real_image_that_crashes_a_real_decoder_is_quarantined_alone(
    tmp_path: Path, images: Path, tiny_weights: Path, shared_data: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (0, 1, 2, 3, 4):
        shutil.copy(images / f"{number:02d}.png", folder)
    shutil.copy(shared_data / "hard" / "broken_data_stream.png", folder / "02a.png")
    directory, shards = begin_run(tmp_path / "run", folder, shard_size=3)
    receipts: list[Receipt] = []
    dispatch(
        shards,
        worker_settings(directory, tiny_weights),
        num_actors=1,
        address=None,
        on_receipt=receipts.append,
        make_worker=CrashingWorker,
    )
    rows = [row for shard in shards for row in rows_of(directory, shard.number)]
    assert [Path(row.uri).name for row in rows if row.status != "ok"] == ["02a.png"]
    (bad,) = (row for row in rows if row.status != "ok")
    assert bad.error_class == "WorkerDiedError"
    assert bad.error is not None
    assert bad.error.endswith("only this item died: killed by SIGSEGV")
