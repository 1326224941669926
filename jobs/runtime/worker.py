"""Computes one shard after another on one device. A plain class: it knows nothing of Ray."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fcos_core import Predictor, load_checkpoint
from fcos_core.errors import CheckpointError, ConfigError, DataError, StorageError
from fcos_core.predictor import Engine, Precision
from fcos_core.structures import Detections
from jobs.runtime.batches import BatchGrouper
from jobs.runtime.commits import Committer, Failure, FinishedShard, Outcome
from jobs.runtime.devices import device_model
from jobs.runtime.fetch import fetch
from jobs.runtime.loading import Loaded, Loader, Loading
from jobs.runtime.retrying import RetryPolicy
from jobs.storage.weights import resolve_weights
from jobs.tables.rows import ManifestItem, Row
from jobs.tables.run_directory import RunDirectory

FETCH_THREADS = 16
"""They wait far more than they work."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """All that a worker needs to know of its run; it is the same for every worker.

    Attributes:
        run_uri: the run's directory.
        run_id: what the footers of its shards say.
        weights: a published name, or an absolute path or uri, found again on the worker's machine.
        weights_sha256: what they must be.
        device: ``cpu`` or ``cuda``.
        device_model: what the run was begun on.
        allow_mixed_devices: compute on another model as well, and mark its shards ``tolerance``.
        precision: of the network.
        engine: how the network is run.
        batch_size: pictures per forward pass.
        threads: cores the worker may keep busy.
        score_threshold: detections lie above.
        max_pixels: the largest picture that is decoded.
        bytes_in_flight: encoded and decoded bytes loaded ahead.
        retry: how to bear with a storage that refuses.
    """

    run_uri: str
    run_id: str
    weights: str
    weights_sha256: str
    device: str
    device_model: str
    allow_mixed_devices: bool
    precision: Precision
    engine: Engine
    batch_size: int
    threads: int
    score_threshold: float
    max_pixels: int
    bytes_in_flight: int
    retry: RetryPolicy


@dataclass(frozen=True)
class Shard:
    """The unit of work: some items of the manifest, in its order, whose rows become one file."""

    number: int
    items: tuple[ManifestItem, ...]


class Worker:
    """Holds the model, and three shards at most: one is loaded, one computed, one written.

    Args:
        settings: see there.

    Raises:
        CheckpointError: the weights found here are not the run's.
        ConfigError: the device found here is not the run's.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        torch.set_num_threads(settings.threads)
        cv2.setNumThreads(1)  # pictures are decoded in threads already, one each
        self.device_model = _check_device(settings)
        self._settings = settings
        self._predictor = _load_predictor(settings)
        categories = self._predictor.model.categories
        self._category_ids = np.array([category.id for category in categories], np.int32)
        self._loader = Loader(
            lambda item: settings.retry.run(lambda: fetch(item)),
            bytes_in_flight=settings.bytes_in_flight,
            max_pixels=settings.max_pixels,
            fetch_threads=FETCH_THREADS,
            decode_threads=max(2, settings.threads),
        )
        self._ahead: tuple[int, Loading] | None = None
        self._committer = Committer(RunDirectory(settings.run_uri), settings.run_id, settings.retry)

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Outcome]:
        """Compute a shard, while the one before it is written and the next one is loaded.

        Args:
            shard: what to compute.
            upcoming: what will most likely be asked for next. None means that nobody knows; then
                this shard is written before the call returns.

        Returns:
            What became of the shards computed so far and not yet spoken of: nothing may be heard
            of this one before the next call.
        """
        loading = self._loading_of(shard)
        if upcoming is not None:
            self._ahead = upcoming.number, self._loader.load(upcoming.items)
        started = time.monotonic()
        try:
            rows = self._compute(shard, loading)
        except StorageError as error:
            return [*self._committer.wait(), Failure(shard=shard.number, error=str(error))]
        finally:
            loading.close()
        finished = FinishedShard(
            shard=shard.number,
            rows=rows,
            seconds=time.monotonic() - started,
            device=self.device_model,
            digest_class=(
                "exact" if self.device_model == self._settings.device_model else "tolerance"
            ),
        )
        outcomes = self._committer.submit(finished)
        return outcomes if upcoming is not None else [*outcomes, *self._committer.wait()]

    def finish(self) -> list[Outcome]:
        """Wait until all is written, and say what became of it."""
        return self._committer.wait()

    def close(self) -> None:
        """Throw away what was loaded ahead, and end all threads."""
        self._loader.close()
        self._committer.close()

    def _loading_of(self, shard: Shard) -> Loading:
        if self._ahead is not None:
            (number, loading), self._ahead = self._ahead, None
            if number == shard.number:
                return loading
            loading.close()
        return self._loader.load(shard.items)

    def _compute(self, shard: Shard, loading: Iterable[Loaded]) -> list[Row]:
        rows: dict[int, Row] = {}
        groups = BatchGrouper[Loaded](self._settings.batch_size)
        for loaded in loading:
            if loaded.pixels is None:
                assert loaded.error is not None
                rows[loaded.item.item_id] = _quarantined(loaded, loaded.error)
                continue
            height, width, _ = loaded.pixels.shape
            shape = self._predictor.padded_shape(height, width)
            for batch in groups.add(shape, loaded, loaded.pixels.nbytes):
                rows.update(self._predict(batch))
        for batch in groups.rest():
            rows.update(self._predict(batch))
        return [rows[item.item_id] for item in shard.items]

    def _predict(self, batch: Sequence[Loaded]) -> dict[int, Row]:
        pictures = [loaded.pixels for loaded in batch if loaded.pixels is not None]
        try:
            found = self._predictor.predict_batch(pictures)
            rows = [self._row(*pair) for pair in zip(batch, found, strict=True)]
        except DataError as error:
            if len(batch) == 1:
                rows = [_quarantined(batch[0], error)]
            else:  # alone, each of them answers for itself
                return {key: row for one in batch for key, row in self._predict([one]).items()}
        return {row.item_id: row for row in rows}

    def _row(self, loaded: Loaded, found: Detections) -> Row:
        assert loaded.pixels is not None
        if not (bool(found.boxes.isfinite().all()) and bool(found.scores.isfinite().all())):
            # Quarantined, since a reader would take it for a picture without objects.
            return _quarantined(
                loaded,
                DataError(
                    f"{loaded.item.uri}: the network gave a box or score that is not finite "
                    f"({self._settings.precision})"
                ),
            )
        item = loaded.item
        return Row.ok(
            item_id=item.item_id,
            image_id=item.image_id,
            uri=item.uri,
            width=loaded.pixels.shape[1],
            height=loaded.pixels.shape[0],
            boxes=found.boxes.numpy(),
            scores=found.scores.numpy(),
            category_ids=self._category_ids[found.labels.numpy()],
        )


def _check_device(settings: WorkerSettings) -> str:
    found = device_model(settings.device)
    if found != settings.device_model and not settings.allow_mixed_devices:
        raise ConfigError(
            f"a worker's device is {found!r}, the run's is {settings.device_model!r}: rows would "
            "differ in their last bits; pass --allow-mixed-devices to accept that"
        )
    return found


def _load_predictor(settings: WorkerSettings) -> Predictor:
    weights = resolve_weights(settings.weights)
    if weights.sha256 != settings.weights_sha256:
        raise CheckpointError(
            f"weights {weights.path}: sha256 {weights.sha256}, the run's is "
            f"{settings.weights_sha256}"
        )
    return Predictor(
        load_checkpoint(weights.path),
        device=settings.device,
        precision=settings.precision,
        engine=settings.engine,
        batch_size=settings.batch_size,
        score_threshold=settings.score_threshold,
    )


def _quarantined(loaded: Loaded, error: DataError) -> Row:
    pixels = loaded.pixels
    return Row.quarantined(
        item_id=loaded.item.item_id,
        image_id=loaded.item.image_id,
        uri=loaded.item.uri,
        width=None if pixels is None else pixels.shape[1],
        height=None if pixels is None else pixels.shape[0],
        error_class=type(error).__name__,
        error=str(error),
    )
