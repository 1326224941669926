"""Turns a batch of images into rows, and halves the batch when device memory is too small."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fcos_core import Predictor, load_checkpoint
from fcos_core.config import EngineName
from fcos_core.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    DeviceMemoryError,
    NotFiniteError,
)
from fcos_core.predictor import Pending, device_errors
from fcos_core.structures import Detections
from jobs.media.image.decode import decode_image
from jobs.rundir.rows import Row
from jobs.storage.weights import resolve_weights
from jobs.worker.messages import WorkerSettings
from jobs.worker.prefetched import LoadedImage, Pixels

RowKey = tuple[int, int]
"""An item's id, and the row's number in the item."""

_KNOWN_GOOD_PX = 64


@dataclass
class _Submitted:
    """A batch and its way through the device; None when it is to be computed in its turn."""

    batch: Sequence[LoadedImage]
    pending: Pending | None


class RowPredictor:
    """Holds the model.

    ``is_split`` says whether a batch has been halved since it was last set to False;
    ``category_names`` are the model's, by id.
    """

    def __init__(self, settings: WorkerSettings, engine: EngineName) -> None:
        self.predictor = _load_predictor(settings, engine)
        self.is_split = False
        self._settings = settings
        categories = self.predictor.model.categories
        self.category_names = {category.id: category.name for category in categories}
        self._category_ids = np.array([category.id for category in categories], np.int32)

    def predict(self, batches: Iterable[Sequence[LoadedImage]]) -> Iterator[dict[RowKey, Row]]:
        """Compute batches in order.

        A device that runs behind the CPU computes one batch while the next one is made, and the
        rows of the one before it.

        Yields:
            The rows of each batch.
        """
        before: _Submitted | None = None
        for batch in batches:
            if not self.predictor.runs_ahead:
                yield self._predict(batch, self._settings.batch_size)
                continue
            after = self._submit(batch)
            if before is not None:
                yield self._finish(before, after)
            before = after
        if before is not None:
            yield self._finish(before, None)

    def warm_up(self) -> None:
        self.predictor.predict_batch([_known_good()])

    def _submit(self, batch: Sequence[LoadedImage]) -> _Submitted:
        images = [loaded.pixels for loaded in batch if loaded.pixels is not None]
        try:
            pending = self.predictor.submit(images, batch_size=self._settings.batch_size)
        except (DataError, torch.OutOfMemoryError):
            # Alone it may fit; and its error belongs to its turn.
            return _Submitted(batch, None)
        return _Submitted(batch, pending)

    def _finish(self, submitted: _Submitted, after: _Submitted | None) -> dict[RowKey, Row]:
        """Read a batch, or compute it again, while no other one is under way."""
        pending, submitted.pending = submitted.pending, None
        is_out_of_memory = False
        if pending is not None:
            try:
                return self._rows(submitted.batch, pending.result())
            except DataError:
                pass
            except torch.OutOfMemoryError:
                is_out_of_memory = True
        del pending
        if after is not None:
            # It is computed again in its turn, so that what is done here depends on no other batch.
            after.pending = None
        if is_out_of_memory:
            self.predictor.free_memory()
        return self._predict(submitted.batch, self._settings.batch_size)

    def _predict(self, batch: Sequence[LoadedImage], batch_size: int) -> dict[RowKey, Row]:
        images = [loaded.pixels for loaded in batch if loaded.pixels is not None]
        try:
            found = self.predictor.predict_batch(images, batch_size=batch_size)
            return self._rows(batch, found)
        except DataError as error:
            if len(batch) == 1:
                return {batch[0].key: quarantined(batch[0], error)}
            out_of_memory = None
        except torch.OutOfMemoryError as error:
            out_of_memory = str(error).partition("\n")[0]
        # Only outside ``except`` is the exception gone, whose traceback holds tensors.
        if out_of_memory is None:  # one by one, only the image that cannot be used fails
            return self._predict_in_parts(batch, 1, batch_size)
        self.predictor.free_memory()
        self.is_split = True
        if batch_size == 1:
            place = batch[0].item.uri
            error = DeviceMemoryError(f"{place}: alone in its batch: {out_of_memory}")
            return {batch[0].key: quarantined(batch[0], error)}
        return self._predict_in_parts(batch, batch_size // 2, batch_size // 2)

    def _predict_in_parts(
        self, batch: Sequence[LoadedImage], step: int, batch_size: int
    ) -> dict[RowKey, Row]:
        parts = [batch[start : start + step] for start in range(0, len(batch), step)]
        return {key: row for part in parts for key, row in self._predict(part, batch_size).items()}

    def _rows(self, batch: Sequence[LoadedImage], found: Sequence[Detections]) -> dict[RowKey, Row]:
        are_finite = _are_finite(found)
        return {
            loaded.key: self._row(loaded, one) if is_finite else self._not_finite(loaded)
            for loaded, one, is_finite in zip(batch, found, are_finite, strict=True)
        }

    def _not_finite(self, loaded: LoadedImage) -> Row:
        # Quarantined, since a reader would take it for an image without objects.
        return quarantined(
            loaded,
            NotFiniteError(
                f"{loaded.item.uri}: the network gave a box or score that is not finite "
                f"({self._settings.precision})"
            ),
        )

    def _row(self, loaded: LoadedImage, found: Detections) -> Row:
        assert loaded.pixels is not None
        item = loaded.item
        return Row.ok(
            item_id=item.item_id,
            image_id=item.image_id + loaded.number,
            uri=item.uri,
            frame_index=loaded.frame_index,
            timestamp_s=loaded.timestamp_s,
            note=loaded.note,
            width=loaded.pixels.shape[1],
            height=loaded.pixels.shape[0],
            boxes=found.boxes.numpy(),
            scores=found.scores.numpy(),
            category_ids=self._category_ids[found.labels.numpy()],
        )


def _are_finite(found: Sequence[Detections]) -> list[bool]:
    """Whether all boxes and scores of each image are finite; mostly one look at the batch."""
    values = [np.append(one.boxes.numpy(), one.scores.numpy()) for one in found]
    if np.isfinite(np.concatenate(values)).all():
        return [True] * len(values)
    return [bool(np.isfinite(of_image).all()) for of_image in values]


def quarantined(loaded: LoadedImage, error: DataError) -> Row:
    """Make the row of an image or frame that cannot be used."""
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


@contextmanager
def process_failures() -> Generator[None]:
    """Raise a ``DeviceError`` for each failure after which only a new process can go on.

    Raises:
        DeviceError: the device has failed, or memory ran out where no batch can be halved.
    """
    try:
        with device_errors():
            yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise DeviceError(f"out of memory: {str(error).partition(chr(10))[0]}") from error


def _load_predictor(settings: WorkerSettings, engine: EngineName) -> Predictor:
    weights = resolve_weights(settings.weights)
    if weights.sha256 != settings.weights_sha256:
        raise CheckpointError(
            f"weights {weights.path}: sha256 {weights.sha256}, the run's is "
            f"{settings.weights_sha256}"
        )
    model = load_checkpoint(weights.path)
    weights.check_unchanged()
    return Predictor(
        model,
        device=settings.device,
        precision=settings.precision,
        engine=engine,
        batch_size=settings.batch_size,
        score_threshold=settings.score_threshold,
    )


def _known_good() -> Pixels:
    """Make an image that passed through the same decoder as all others."""
    shades = np.linspace(0, 255, _KNOWN_GOOD_PX, dtype=np.uint8)
    image = np.stack(np.broadcast_arrays(shades[:, None], shades[None], np.uint8(128)), axis=2)
    is_done, data = cv2.imencode(".png", image)
    assert is_done
    return decode_image(data.tobytes(), place="the known-good image")
