from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import jobs.worker.worker as worker_module
from fcos_core.checkpoint import load_checkpoint
from fcos_core.errors import CheckpointError, ConfigError, DeviceError, ImageError, StorageError
from fcos_core.predictor import Predictor
from fcos_core.structures import Detections
from jobs.media.image.decode import decode_image
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem, Row
from jobs.rundir.shard import Failure, Receipt
from jobs.rundir.shard_reading import read_shard
from jobs.worker.messages import WorkerSettings
from jobs.worker.worker import Worker
from tests.jobs.tiny_model import save_tiny
from tests.jobs.worker.runs import begin_run, rows_of, worker_settings

pytestmark = pytest.mark.usefixtures("_kept_threads")


@contextmanager
def worker_with(settings: WorkerSettings) -> Generator[Worker]:
    worker = Worker(settings)
    yield worker
    worker.close()


def same(one: Sequence[Row], other: Sequence[Row]) -> bool:
    def key(row: Row) -> tuple[object, ...]:
        plain = {k: v for k, v in vars(row).items() if not isinstance(v, np.ndarray)}
        return (
            *plain.items(),
            row.boxes.tobytes(),
            row.scores.tobytes(),
            row.category_ids.tobytes(),
        )

    return [key(row) for row in one] == [key(row) for row in other]


def test_a_shard_becomes_a_file_of_rows_in_manifest_order(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, (shard,) = begin_run(tmp_path / "run", images, shard_size=20)
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        (receipt,) = worker.process(shard)
    assert isinstance(receipt, Receipt)
    assert (receipt.num_items, receipt.num_ok, receipt.num_quarantined) == (20, 18, 2)
    assert receipt.created
    rows = rows_of(run, 0)
    assert [row.item_id for row in rows] == list(range(20))
    assert [row.item_id for row in rows if row.status != "ok"] == [5, 11]
    assert (rows[0].width, rows[0].height) == (64, 48)
    assert (rows[1].width, rows[1].height) == (48, 64)
    for bad in (rows[5], rows[11]):
        assert (bad.width, bad.height, bad.error_class) == (None, None, "ImageError")
        assert bad.error is not None
        assert bad.uri in bad.error
    assert {int(i) for row in rows for i in row.category_ids} <= {3, 7, 11}
    assert sum(len(row.scores) for row in rows) > 20


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_rows_equal_the_predictor_on_each_image_alone(
    tmp_path: Path, images: Path, tiny_weights: Path, batch_size: int
) -> None:
    run, (shard,) = begin_run(tmp_path / "run", images, shard_size=20)
    with worker_with(worker_settings(run, tiny_weights, batch_size=batch_size)) as worker:
        worker.process(shard)
    predictor = Predictor(
        load_checkpoint(tiny_weights), device="cpu", batch_size=batch_size, score_threshold=0.05
    )
    for row in rows_of(run, 0):
        if row.status != "ok":
            continue
        (found,) = predictor([decode_image(Path(row.uri).read_bytes(), place=row.uri)])
        # Exactly: neither the other images of a batch nor the place in it change a bit.
        assert np.array_equal(row.boxes, found.boxes.numpy())
        assert np.array_equal(row.scores, found.scores.numpy())
        ids = [worker._row_predictor._category_ids[label] for label in found.labels]
        assert row.category_ids.tolist() == ids


def test_a_receipt_is_returned_only_when_the_file_is_there(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=5)
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        reported: list[int] = []
        for shard, upcoming in zip(shards, [*shards[1:], None], strict=True):
            outcomes = worker.process(shard, upcoming)
            reported += [outcome.shard for outcome in outcomes]
            committed = {number for number, _ in run.list_shards().shards}
            assert set(reported) <= committed
        assert reported == [0, 1, 2, 3]
        worker.process(shards[0], shards[1])
        assert [outcome.shard for outcome in worker.finish()] == [0]
        assert worker.finish() == []


def test_rows_do_not_depend_on_the_order_nor_on_what_was_prefetched(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "one", images, shard_size=5)
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        for shard in shards:
            worker.process(shard)
    other, _ = begin_run(tmp_path / "other", images, shard_size=5)
    with worker_with(worker_settings(other, tiny_weights, bytes_in_flight=1)) as worker:
        worker.process(shards[2], shards[0])
        worker.process(shards[3], shards[1])  # not the shard that was prefetched
        worker.process(shards[1], shards[1])
        worker.process(shards[0])
    for shard in shards:
        assert same(rows_of(run, shard.number), rows_of(other, shard.number))


def test_the_second_file_of_a_shard_is_dropped(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=5)
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        (first,) = worker.process(shards[0])
        before = Path(run.shard_uri(0)).stat()
        (second,) = worker.process(shards[0])
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert (first.created, second.created) == (True, False)
    assert Path(run.shard_uri(0)).stat().st_ino == before.st_ino


def failing_fetch(uri_part: str) -> Callable[[ManifestItem], bytes]:
    fetch = worker_module.read_item_bytes

    def fetch_or_fail(item: ManifestItem) -> bytes:
        if uri_part in item.uri:
            raise StorageError(f"{item.uri}: 503 SlowDown")
        return fetch(item)

    return fetch_or_fail


def test_a_storage_error_fails_only_its_shard(
    tmp_path: Path, images: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=5)
    monkeypatch.setattr(worker_module, "read_item_bytes", failing_fetch("07.png"))
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        outcomes = [
            *worker.process(shards[0], shards[1]),
            *worker.process(shards[1], shards[2]),
            *worker.process(shards[2]),
        ]
    assert [(type(outcome), outcome.shard) for outcome in outcomes] == [
        (Receipt, 0),
        (Failure, 1),
        (Receipt, 2),
    ]
    assert isinstance(outcomes[1], Failure)
    assert "07.png: 503 SlowDown" in outcomes[1].error
    assert [number for number, _ in run.list_shards().shards] == [0, 2]


def test_an_output_that_cannot_be_written_is_fatal(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=5)
    (tmp_path / "run" / "detections").write_text("a file in the way")
    with (
        worker_with(worker_settings(run, tiny_weights)) as worker,
        pytest.raises(ConfigError, match="cannot be written"),
    ):
        worker.process(shards[0])


def test_other_weights_than_the_runs_are_refused(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, _ = begin_run(tmp_path / "run", images, shard_size=5)
    settings = worker_settings(run, save_tiny(tmp_path, seed=1))
    other = worker_settings(run, tiny_weights, weights_sha256=settings.weights_sha256)
    with pytest.raises(CheckpointError, match="the run's is"):
        Worker(other)


def test_another_device_is_refused_or_marks_its_shards(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=5)
    settings = worker_settings(run, tiny_weights, device_model="Abacus 3000")
    with pytest.raises(ConfigError, match=r"Abacus 3000.*--allow-mixed-devices"):
        Worker(settings)
    settings = worker_settings(
        run, tiny_weights, device_model="Abacus 3000", allow_mixed_devices=True
    )
    with worker_with(settings) as worker:
        worker.process(shards[0])
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        worker.process(shards[1])
    assert read_shard(run, 0).footer.digest_class == "tolerance"
    assert read_shard(run, 1).footer.digest_class == "exact"


def test_a_worker_keeps_to_its_threads(tmp_path: Path, images: Path, tiny_weights: Path) -> None:
    run, _ = begin_run(tmp_path / "run", images, shard_size=5)
    with worker_with(worker_settings(run, tiny_weights, threads=2)):
        assert torch.get_num_threads() == 2
    with worker_with(worker_settings(run, tiny_weights, threads=1)):
        assert torch.get_num_threads() == 1


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
    assert not run.list_shards().shards


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
    assert not run.list_shards().shards
