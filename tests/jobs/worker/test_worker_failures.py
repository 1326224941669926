"""Images, devices and items that fail in a worker, and what they cost."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import jobs.worker.worker as worker_module
from fcos_core.errors import DeviceError, ImageError
from fcos_core.predictor import Predictor
from fcos_core.structures import Detections
from jobs.media.image.decode import decode_image
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem
from jobs.rundir.shard_reading import read_shard
from tests.jobs.worker.in_process import failing_fetch, same, worker_with
from tests.jobs.worker.runs import begin_run, rows_of, worker_settings


class FailsOnOneImage:
    """A predictor's ``predict_batch`` that fails on one image, or gives wrong detections for it."""

    def __init__(self, predictor: Predictor, bad: np.ndarray, *, gives: Detections | None) -> None:
        self.predict, self.bad, self.gives = predictor.predict_batch, bad, gives

    def __call__(self, images: Sequence[np.ndarray], *, batch_size: int) -> list[Detections]:
        is_bad = [np.array_equal(image, self.bad) for image in images]
        if self.gives is None and any(is_bad):
            raise ImageError("this image cannot be predicted")
        found = self.predict(images, batch_size=batch_size)
        return [
            self.gives if bad and self.gives is not None else one
            for bad, one in zip(is_bad, found, strict=True)
        ]


@pytest.mark.parametrize(
    ("gives", "reason"),
    [
        pytest.param(None, "cannot be predicted", id="data_error"),
        pytest.param(
            Detections(
                torch.zeros(1, 4), torch.tensor([torch.nan]), torch.zeros(1, dtype=torch.long)
            ),
            "not finite",
            id="nan_score",
        ),
        pytest.param(
            Detections(
                torch.full((1, 4), torch.inf), torch.ones(1), torch.zeros(1, dtype=torch.long)
            ),
            "not finite",
            id="infinite_box",
        ),
    ],
)
def test_an_image_that_fails_changes_no_other_row_of_its_batch(
    tmp_path: Path,
    images: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    gives: Detections | None,
    reason: str,
) -> None:
    run, (shard,) = begin_run(tmp_path / "one", images, shard_size=20)
    with worker_with(worker_settings(run, tiny_weights, batch_size=4)) as worker:
        worker.process(shard)
    other, _ = begin_run(tmp_path / "other", images, shard_size=20)
    uri = shard.items[6].uri
    pixels = decode_image(Path(uri).read_bytes(), place=uri)
    with worker_with(worker_settings(other, tiny_weights, batch_size=4)) as worker:
        predict_or_fail = FailsOnOneImage(worker._row_predictor.predictor, pixels, gives=gives)
        monkeypatch.setattr(worker._row_predictor.predictor, "predict_batch", predict_or_fail)
        worker.process(shard)
    before, after = rows_of(run, 0), rows_of(other, 0)
    assert same(before[:6] + before[7:], after[:6] + after[7:])
    assert before[6].status == "ok"
    assert after[6].status == "quarantined"
    assert reason in (after[6].error or "")
    assert (after[6].width, after[6].height) == (before[6].width, before[6].height)
    assert len(RunDirectory(other.uri).list_shards().shards) == 1


class SmallDevice:
    """A predictor's ``predict_batch`` on a device with little memory.

    Args:
        predictor: computes the batches that fit.
        max_images: images of the largest batch that fits, padding images included.
        too_large: an image that does not fit even alone.
    """

    def __init__(
        self, predictor: Predictor, *, max_images: int, too_large: np.ndarray | None
    ) -> None:
        self.predict, self.max_images = predictor.predict_batch, max_images
        self.too_large = too_large
        self.sizes: list[int] = []

    def __call__(self, images: Sequence[np.ndarray], *, batch_size: int) -> list[Detections]:
        self.sizes.append(batch_size)
        if batch_size > self.max_images or any(np.array_equal(i, self.too_large) for i in images):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB.\nMore words")
        return self.predict(images, batch_size=batch_size)


def test_a_batch_too_large_for_the_device_is_split_and_its_shard_says_so(
    tmp_path: Path, images: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, shards = begin_run(tmp_path / "one", images, shard_size=10)
    with worker_with(worker_settings(run, tiny_weights, batch_size=4)) as worker:
        worker.process(shards[0])
    small, _ = begin_run(tmp_path / "small", images, shard_size=10)
    with worker_with(worker_settings(small, tiny_weights, batch_size=4)) as worker:
        whole = worker._row_predictor.predictor.predict_batch
        device = SmallDevice(worker._row_predictor.predictor, max_images=2, too_large=None)
        monkeypatch.setattr(worker._row_predictor.predictor, "predict_batch", device)
        worker.process(shards[0])
        monkeypatch.setattr(worker._row_predictor.predictor, "predict_batch", whole)
        worker.process(shards[1])
    assert set(device.sizes) == {4, 2}
    assert read_shard(small, 0).footer.digest_class == "tolerance"
    assert read_shard(small, 1).footer.digest_class == "exact"
    for row, expected in zip(rows_of(small, 0), rows_of(run, 0), strict=True):
        assert row.status == expected.status
        assert np.allclose(row.scores, expected.scores, rtol=0, atol=1e-5)
        assert np.allclose(row.boxes, expected.boxes, rtol=0, atol=1e-3)


def test_an_image_too_large_for_the_device_alone_is_quarantined(
    tmp_path: Path, images: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, (shard,) = begin_run(tmp_path / "run", images, shard_size=20)
    uri = shard.items[6].uri
    pixels = decode_image(Path(uri).read_bytes(), place=uri)
    with worker_with(worker_settings(run, tiny_weights, batch_size=4)) as worker:
        device = SmallDevice(worker._row_predictor.predictor, max_images=4, too_large=pixels)
        monkeypatch.setattr(worker._row_predictor.predictor, "predict_batch", device)
        worker.process(shard)
    rows = rows_of(run, 0)
    assert [row.item_id for row in rows if row.status != "ok"] == [5, 6, 11]
    assert rows[6].error_class == "DeviceMemoryError"
    assert rows[6].error == (
        f"{uri}: alone in its batch: CUDA out of memory. Tried to allocate 7 GiB."
    )
    assert read_shard(run, 0).footer.digest_class == "tolerance"


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("CUDA error: an illegal memory access"), id="cuda"),
        pytest.param(torch.AcceleratorError("device-side assert triggered"), id="accelerator"),
        pytest.param(MemoryError("no more"), id="host_memory"),
    ],
)
def test_a_lost_device_ends_the_worker_and_not_the_image(
    tmp_path: Path,
    images: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    run, (shard,) = begin_run(tmp_path / "run", images, shard_size=20)
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        monkeypatch.setattr(worker._row_predictor.predictor, "_predict_batch", fail)
        with pytest.raises(DeviceError, match=str(error)):
            worker.process(shard)
        with pytest.raises(DeviceError, match=str(error)):
            worker.warm_up()
        with pytest.raises(DeviceError, match=str(error)):
            worker.run_trial(shard.items[0])
    assert not len(run.list_shards().shards)


def test_any_other_error_of_the_network_is_a_bug(
    tmp_path: Path, images: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    run, (shard,) = begin_run(tmp_path / "run", images, shard_size=20)
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        monkeypatch.setattr(worker._row_predictor.predictor, "_predict_batch", fail)
        with pytest.raises(RuntimeError, match="shapes do not match"):
            worker.process(shard)


def test_poison_is_never_fetched_and_changes_no_other_row(
    tmp_path: Path, images: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, shards = begin_run(tmp_path / "one", images, shard_size=10)
    with worker_with(worker_settings(run, tiny_weights, batch_size=4)) as worker:
        for shard in shards:
            worker.process(shard)
    other, _ = begin_run(tmp_path / "other", images, shard_size=10)
    fetched: list[int] = []
    fetch = worker_module.read_item_bytes

    def fetch_and_note(item: ManifestItem) -> bytes:
        fetched.append(item.item_id)
        return fetch(item)

    monkeypatch.setattr(worker_module, "read_item_bytes", fetch_and_note)
    poisoned = [replace(shard, poison={3: "exit code 3", 14: "SIGSEGV"}) for shard in shards]
    with worker_with(worker_settings(other, tiny_weights, batch_size=4)) as worker:
        worker.process(poisoned[0], poisoned[1])
        worker.process(poisoned[1])
    assert sorted(fetched) == [i for i in range(20) if i not in {3, 14}]
    before = [*rows_of(run, 0), *rows_of(run, 1)]
    after = [*rows_of(other, 0), *rows_of(other, 1)]
    sound = [i for i in range(20) if i not in {3, 14}]
    assert same([before[i] for i in sound], [after[i] for i in sound])
    for i, reason in ((3, "exit code 3"), (14, "SIGSEGV")):
        assert (after[i].status, after[i].error_class) == ("quarantined", "WorkerDiedError")
        assert after[i].error == f"{before[i].uri}: {reason}"
    assert read_shard(other, 0).footer.digest_class == "exact"


def test_a_trial_writes_nothing_and_ignores_storage_and_data_errors(
    tmp_path: Path, images: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, (shard,) = begin_run(tmp_path / "run", images, shard_size=20)
    monkeypatch.setattr(worker_module, "read_item_bytes", failing_fetch("07.png"))
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        worker.warm_up()
        for item in shard.items:
            worker.run_trial(item)
        assert worker.finish() == []
    assert not len(run.list_shards().shards)
