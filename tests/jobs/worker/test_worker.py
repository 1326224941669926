from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import jobs.worker.worker as worker_module
from fcos_core import FCOS
from fcos_core.checkpoint import load_checkpoint
from fcos_core.config import EngineName, Precision
from fcos_core.errors import CheckpointError, ConfigError
from fcos_core.predictor import Predictor
from jobs.media.image.decode import decode_image
from jobs.parallel.libraries import installed_libraries, libraries_of
from jobs.rundir.shard import Failure, Receipt
from jobs.rundir.shard_reading import read_shard
from jobs.worker.worker import Worker
from tests.fcos_core.engines.installed import CPU_ENGINES
from tests.jobs.tiny_model import save_tiny
from tests.jobs.worker.in_process import failing_fetch, same, worker_with
from tests.jobs.worker.runs import begin_run, rows_of, worker_settings


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


def test_each_detection_has_the_name_that_the_model_gives_to_its_category(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, (shard,) = begin_run(tmp_path / "run", images, shard_size=20)
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        worker.process(shard)
    lists = read_shard(run, 0).table.column("detections").to_pylist()
    found = {(one["category_id"], one["category_name"]) for some in lists for one in some or []}
    names = {c.id: c.name for c in load_checkpoint(tiny_weights).categories}
    assert found
    assert found <= set(names.items())


def test_harmless_damage_is_noted_in_the_row_and_changes_no_detection(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    sound = min(images.glob("*.png"))
    (tmp_path / "photos").mkdir()
    data = sound.read_bytes()
    (tmp_path / "photos" / "a.png").write_bytes(data)
    (tmp_path / "photos" / "b.png").write_bytes(data[:-12])
    run, (shard,) = begin_run(tmp_path / "run", tmp_path / "photos", shard_size=20)
    with worker_with(worker_settings(run, tiny_weights)) as worker:
        worker.process(shard)
    one, other = rows_of(run, 0)
    assert (one.note, other.note) == (None, "PNG without its end mark; all pixels are in the file")
    assert other.status == "ok"
    assert np.array_equal(one.boxes, other.boxes)
    assert np.array_equal(one.scores, other.scores)


@pytest.mark.parametrize(
    ("batch_size", "engine"),
    [*((size, "eager") for size in (1, 2, 3, 8)), *((3, engine) for engine in CPU_ENGINES[1:])],
)
def test_rows_equal_the_predictor_on_each_image_alone(
    tmp_path: Path, images: Path, tiny_weights: Path, batch_size: int, engine: EngineName
) -> None:
    run, (shard,) = begin_run(tmp_path / "run", images, shard_size=20)
    settings = worker_settings(run, tiny_weights, batch_size=batch_size, engine=engine)
    with worker_with(settings) as worker:
        worker.process(shard)
    predictor = Predictor(
        load_checkpoint(tiny_weights),
        device="cpu",
        engine=engine,
        batch_size=batch_size,
        score_threshold=0.05,
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
            committed = set(run.list_shards().shards.tolist())
            assert set(reported) <= committed
        assert reported == [0, 1, 2, 3]
        worker.process(shards[0], shards[1])
        assert [outcome.shard for outcome in worker.finish()] == [0]
        assert worker.finish() == []


@pytest.mark.parametrize("engine", CPU_ENGINES)
def test_rows_do_not_depend_on_the_order_nor_on_what_was_prefetched(
    tmp_path: Path, images: Path, tiny_weights: Path, engine: EngineName
) -> None:
    run, shards = begin_run(tmp_path / "one", images, shard_size=5)
    with worker_with(worker_settings(run, tiny_weights, engine=engine)) as worker:
        for shard in shards:
            worker.process(shard)
    other, _ = begin_run(tmp_path / "other", images, shard_size=5)
    settings = worker_settings(other, tiny_weights, engine=engine, bytes_in_flight=1)
    with worker_with(settings) as worker:
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
    assert run.list_shards().shards.tolist() == [0, 2]


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


def test_weights_rewritten_between_their_hash_and_their_reading_are_refused(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = begin_run(tmp_path / "run", images, shard_size=5)
    settings = worker_settings(run, save_tiny(tmp_path, seed=1))

    def load_and_rewrite(path: Path) -> FCOS:
        model = load_checkpoint(path)
        path.write_bytes(path.read_bytes())
        return model

    monkeypatch.setattr("jobs.worker.row_predictor.load_checkpoint", load_and_rewrite)
    with pytest.raises(ConfigError, match="were changed while they were read"):
        Worker(settings)


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


def test_other_libraries_are_refused_or_mark_their_shards(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=5)
    older = {**installed_libraries(), "torch": "1.0"}
    settings = worker_settings(run, tiny_weights, libraries=libraries_of("eager", older))
    with pytest.raises(ConfigError, match=r"a worker's torch is .*, the run's is 1\.0"):
        Worker(settings)
    with worker_with(replace(settings, allow_mixed_devices=True)) as worker:
        worker.process(shards[0])
    assert read_shard(run, 0).footer.digest_class == "tolerance"


@pytest.mark.parametrize(
    ("engine", "precision", "libraries", "message"),
    [
        ("openvino", "fp32", {"openvino": "2.0"}, r"openvino is absent.*openvino==2\.0$"),
        ("cuda", "bf16", {}, "a worker has no engine cuda in bf16"),
    ],
)
def test_a_worker_without_the_runs_engine_is_refused_or_takes_another(
    tmp_path: Path,
    images: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: EngineName,
    precision: Precision,
    libraries: dict[str, str],
    message: str,
) -> None:
    run, shards = begin_run(tmp_path / "run", images, shard_size=5)
    without = libraries_of("eager", installed_libraries())
    monkeypatch.setattr("jobs.parallel.devices.installed_libraries", lambda: without)
    settings = worker_settings(
        run,
        tiny_weights,
        engine=engine,
        precision=precision,
        libraries={**without, **libraries},
    )
    with pytest.raises(ConfigError, match=message):
        Worker(settings)
    with worker_with(replace(settings, allow_mixed_devices=True)) as worker:
        worker.process(shards[0])
        assert worker._row_predictor.predictor.engine.name == "folded"
    assert read_shard(run, 0).footer.digest_class == "tolerance"


def test_a_worker_keeps_to_its_threads(tmp_path: Path, images: Path, tiny_weights: Path) -> None:
    run, _ = begin_run(tmp_path / "run", images, shard_size=5)
    with worker_with(worker_settings(run, tiny_weights, threads=2)):
        assert torch.get_num_threads() == 2
    with worker_with(worker_settings(run, tiny_weights, threads=1)):
        assert torch.get_num_threads() == 1
