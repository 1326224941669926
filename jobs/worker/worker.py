"""Computes one shard after another on one device. A plain class: it knows nothing of Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import cv2
import numpy as np
import torch

from fcos_core import Predictor, load_checkpoint
from fcos_core.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    DeviceMemoryError,
    NotFiniteError,
    StorageError,
    WorkerDiedError,
)
from fcos_core.predictor import device_errors
from fcos_core.structures import Detections
from jobs.inputs.item_bytes import has_changed, read_item_bytes, without_version
from jobs.inputs.video_frames import LoadedFrame, load_frames
from jobs.media.image.decode import decode_image
from jobs.parallel.devices import device_model
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem, Row
from jobs.rundir.shard import Failure, Outcome, Shard
from jobs.storage.weights import resolve_weights
from jobs.worker.batches import BatchGrouper
from jobs.worker.messages import WorkerSettings
from jobs.worker.prefetch import SEGMENTS_AT_ONCE, Loader, Loading
from jobs.worker.prefetched import Loaded, Pixels
from jobs.worker.shard_committer import Committer, FinishedShard

FETCH_THREADS = 16
"""They wait far more than they work."""

_Key = tuple[int, int]  # of a row: its item, and its place in that

_REHEARSAL = -1  # no shard has this number
_KNOWN_GOOD_PX = 64


class Worker:
    """Holds the model, and three shards at most: one is loaded, one computed, one written.

    Args:
        settings: see there.

    Raises:
        CheckpointError: the weights found here are not the run's.
        ConfigError: the device found here is not the run's.
        DeviceError: the device found here does not work.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        torch.set_num_threads(settings.threads)
        cv2.setNumThreads(1)  # images are decoded in threads already, one each
        with _final_errors():
            self.device_model = _check_device(settings)
            self._predictor = _load_predictor(settings)
        self._settings = settings
        self._is_split = False
        categories = self._predictor.model.categories
        self._category_ids = np.array([category.id for category in categories], np.int32)
        self._loader = Loader(
            read_item_bytes
            if settings.attempt is None
            else lambda item: read_item_bytes(without_version(item)),
            bytes_in_flight=settings.bytes_in_flight,
            max_pixels=settings.max_pixels,
            fetch_threads=FETCH_THREADS,
            decode_threads=max(2, settings.threads),
            frames=_frame_loader(settings),
        )
        self._ahead: tuple[int, Loading] | None = None
        self._committer = Committer(
            RunDirectory(settings.run_uri),
            settings.run_id,
            attempt=settings.attempt,
        )

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Outcome]:
        """Compute a shard, while the one before it is written and the next one is loaded.

        Args:
            shard: what to compute.
            upcoming: what will most likely be asked for next. None means that nobody knows; then
                this shard is written before the call returns.

        Returns:
            What became of the shards computed so far and not yet spoken of: nothing may be heard
            of this one before the next call. A ``DeviceError`` says that this process is done for.
        """
        loading = self._loading_of(shard)
        if upcoming is not None:
            self._ahead = upcoming.number, self._loader.load(upcoming.sound)
        started = time.monotonic()
        self._is_split = False
        try:
            with _final_errors():
                rows = self._compute(shard, loading)
            changed_items = self._find_changed(shard, rows)
        except StorageError as error:
            return [*self._committer.wait(), Failure(shard=shard.number, error=str(error))]
        finally:
            loading.close()
        finished = FinishedShard(
            shard=shard.number,
            rows=rows,
            num_rows=shard.num_rows,
            seconds=time.monotonic() - started,
            device=self.device_model,
            digest_class="exact" if self._is_exact() else "tolerance",
            changed_items=changed_items,
        )
        outcomes = self._committer.submit(finished)
        return outcomes if upcoming is not None else [*outcomes, *self._committer.wait()]

    def finish(self) -> list[Outcome]:
        """Wait until all is written, and say what became of it."""
        return self._committer.wait()

    def warm_up(self) -> None:
        """Decode and compute an image that is known to be good, as every worker can."""
        with _final_errors():
            self._predictor.predict_batch([_known_good()])

    def run_trial(self, item: ManifestItem) -> None:
        """Compute one item, with nothing beside it, and write nothing; what survives is fine.

        Args:
            item: which one. Neither storage that refuses nor damaged data are worth a word here.
        """
        alone = Shard(_REHEARSAL, (item,))
        loading = self._loading_of(alone)
        try:
            with _final_errors():
                self._compute(alone, loading)
        except StorageError:
            return  # whoever computes the shard meets it, and reports it
        finally:
            loading.close()

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
        return self._loader.load(shard.sound)

    def _is_exact(self) -> bool:
        return self.device_model == self._settings.device_model and not self._is_split

    def _compute(self, shard: Shard, loading: Iterable[Loaded]) -> list[Row]:
        rows = {
            (item.item_id, 0): _poisoned(item, shard.poison[item.item_id])
            for item in shard.items
            if item.item_id in shard.poison
        }
        groups = BatchGrouper[Loaded](self._settings.batch_size)
        for loaded in loading:
            if loaded.pixels is None:
                assert loaded.error is not None
                rows[loaded.key] = _quarantined(loaded, loaded.error)
                continue
            height, width, _ = loaded.pixels.shape
            shape = self._predictor.padded_shape(height, width)
            for batch in groups.add(shape, loaded, loaded.pixels.nbytes):
                rows.update(self._predict(batch, self._settings.batch_size))
        for batch in groups.rest():
            rows.update(self._predict(batch, self._settings.batch_size))
        return [rows[key] for key in sorted(rows)]

    def _find_changed(self, shard: Shard, rows: Sequence[Row]) -> tuple[int, ...]:
        """Find what a later attempt recovered from other bytes than those that were quarantined."""
        if self._settings.attempt is None:
            return ()
        recovered = {row.item_id for row in rows if row.status == "ok"}
        items = [item for item in shard.items if item.item_id in recovered]
        changed = [item for item in items if has_changed(item)]
        return tuple(item.item_id for item in changed)

    def _predict(self, batch: Sequence[Loaded], batch_size: int) -> dict[_Key, Row]:
        """Compute some images, in smaller batches where the device's memory does not suffice."""
        images = [loaded.pixels for loaded in batch if loaded.pixels is not None]
        try:
            found = self._predictor.predict_batch(images, batch_size=batch_size)
            return {
                loaded.key: self._row(loaded, one) for loaded, one in zip(batch, found, strict=True)
            }
        except DataError as error:
            if len(batch) == 1:
                return {batch[0].key: _quarantined(batch[0], error)}
            out_of_memory = None
        except torch.OutOfMemoryError as error:
            out_of_memory = str(error).partition("\n")[0]
        # Only here is the exception gone, whose traceback holds on to tensors.
        if out_of_memory is None:  # alone, each of them answers for itself
            return self._predict_in_parts(batch, 1, batch_size)
        self._predictor.free_memory()
        self._is_split = True
        if batch_size == 1:
            place = batch[0].item.uri
            error = DeviceMemoryError(f"{place}: alone in its batch: {out_of_memory}")
            return {batch[0].key: _quarantined(batch[0], error)}
        return self._predict_in_parts(batch, batch_size // 2, batch_size // 2)

    def _predict_in_parts(
        self, batch: Sequence[Loaded], step: int, batch_size: int
    ) -> dict[_Key, Row]:
        parts = [batch[start : start + step] for start in range(0, len(batch), step)]
        return {key: row for part in parts for key, row in self._predict(part, batch_size).items()}

    def _row(self, loaded: Loaded, found: Detections) -> Row:
        assert loaded.pixels is not None
        if not (bool(found.boxes.isfinite().all()) and bool(found.scores.isfinite().all())):
            # Quarantined, since a reader would take it for an image without objects.
            return _quarantined(
                loaded,
                NotFiniteError(
                    f"{loaded.item.uri}: the network gave a box or score that is not finite "
                    f"({self._settings.precision})"
                ),
            )
        item = loaded.item
        return Row.ok(
            item_id=item.item_id,
            image_id=item.image_id + loaded.number,
            uri=item.uri,
            frame_index=loaded.frame_index,
            timestamp_s=loaded.timestamp_s,
            width=loaded.pixels.shape[1],
            height=loaded.pixels.shape[0],
            boxes=found.boxes.numpy(),
            scores=found.scores.numpy(),
            category_ids=self._category_ids[found.labels.numpy()],
        )


def _frame_loader(settings: WorkerSettings) -> Callable[[ManifestItem], Iterator[LoadedFrame]]:
    """Say how segments are decoded: those at work together convert colours with all threads."""
    load = partial(load_frames, threads=max(1, settings.threads // SEGMENTS_AT_ONCE))
    return load if settings.attempt is None else lambda item: load(without_version(item))


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


@contextmanager
def _final_errors() -> Generator[None]:
    """Name what only a fresh process can heal.

    Raises:
        DeviceError: the device has failed, or memory has run out where nothing can be split.
    """
    try:
        with device_errors():
            yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise DeviceError(f"out of memory: {str(error).partition(chr(10))[0]}") from error


def _known_good() -> Pixels:
    """An image that went the way of all others: encoded here, decoded by our decoder."""
    shades = np.linspace(0, 255, _KNOWN_GOOD_PX, dtype=np.uint8)
    image = np.stack(np.broadcast_arrays(shades[:, None], shades[None], np.uint8(128)), axis=2)
    is_done, data = cv2.imencode(".png", image)
    assert is_done
    return decode_image(data.tobytes(), place="the image known to be good")


def _poisoned(item: ManifestItem, reason: str) -> Row:
    return Row.quarantined(
        item_id=item.item_id,
        image_id=item.image_id,
        uri=item.uri,
        frame_index=item.first_frame,
        last_frame=item.last_frame,
        width=item.width,
        height=item.height,
        error_class=WorkerDiedError.__name__,
        error=f"{item.uri}: {reason}",
    )


def _quarantined(loaded: Loaded, error: DataError) -> Row:
    pixels = loaded.pixels
    return Row.quarantined(
        item_id=loaded.item.item_id,
        image_id=loaded.item.image_id + loaded.number,
        uri=loaded.item.uri,
        frame_index=loaded.frame_index,
        last_frame=loaded.last_frame,
        timestamp_s=loaded.timestamp_s,
        width=None if pixels is None else pixels.shape[1],
        height=None if pixels is None else pixels.shape[0],
        error_class=type(error).__name__,
        error=str(error),
    )
