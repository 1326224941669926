"""Computes one shard after another on one device; a plain class, without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import cv2
import torch

from fcos_core.errors import StorageError, WorkerDiedError
from jobs.inputs.item_bytes import has_changed, read_item_bytes, without_version
from jobs.inputs.video_frames import LoadedFrame, load_frames
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem, Row, frames_of_videos
from jobs.rundir.shard import Failure, Outcome, Shard
from jobs.worker.allocator import keep_freed_memory
from jobs.worker.batches import BatchGrouper
from jobs.worker.messages import WorkerSettings
from jobs.worker.place import check_place
from jobs.worker.prefetch import SEGMENTS_AT_ONCE, Prefetcher
from jobs.worker.prefetched import LoadedImage, PrefetchedItems
from jobs.worker.row_predictor import RowKey, RowPredictor, process_failures, quarantined
from jobs.worker.shard_committer import FinishedShard, ShardCommitter

FETCH_THREADS = 16
"""Many, since they mostly wait for storage."""

_TRIAL_NUMBER = -1  # no shard has this number


class Worker:
    """Holds the model, and three shards at most: one is prefetched, one computed, one written.

    Raises:
        CheckpointError: the weights found here are not the run's.
        ConfigError: the device or the libraries found here are not the run's.
        DeviceError: the device found here does not work.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        keep_freed_memory()
        torch.set_num_threads(settings.threads)
        cv2.setNumThreads(1)  # several threads decode, one image each
        with process_failures():
            place = check_place(settings)
            self.device_model = place.device_model
            self._has_run_numbers = place.has_run_numbers
            self._row_predictor = RowPredictor(settings, place.engine)
        self._settings = settings
        self._prefetcher = Prefetcher(
            read_item_bytes
            if settings.attempt is None
            else lambda item: read_item_bytes(without_version(item)),
            bytes_in_flight=settings.bytes_in_flight,
            max_pixels=settings.max_pixels,
            fetch_threads=FETCH_THREADS,
            decode_threads=max(2, settings.threads),
            frames=_frame_loader(settings),
        )
        self._upcoming: tuple[int, PrefetchedItems] | None = None
        self._committer = ShardCommitter(
            RunDirectory(settings.run_uri),
            settings.run_id,
            attempt=settings.attempt,
            category_names=self._row_predictor.category_names,
        )

    def process(self, shard: Shard, upcoming: Shard | None = None) -> list[Outcome]:
        """Compute a shard, while the one before it is written and the next one is prefetched.

        ``upcoming`` is the shard that will most likely come next. When it is None, ``shard`` is
        written before the call returns.

        Returns:
            Outcomes of shards that were computed and not reported before. This shard may be
            reported by a later call.

        Raises:
            DeviceError: only a new process can go on.
        """
        prefetched = self._prefetched(shard)
        if upcoming is not None:
            self._upcoming = upcoming.number, self._prefetcher.prefetch(upcoming.sound)
        started = time.monotonic()
        self._row_predictor.is_split = False
        try:
            with process_failures():
                rows = self._compute(shard, prefetched)
            changed_items = self._find_changed(shard, rows)
        except StorageError as error:
            return [*self._committer.wait(), Failure(shard=shard.number, error=str(error))]
        finally:
            prefetched.close()
        finished = FinishedShard(
            shard=shard.number,
            rows=rows,
            num_rows=shard.num_rows,
            seconds=time.monotonic() - started,
            device=self.device_model,
            digest_class="exact" if self._is_exact() else "tolerance",
            changed_items=changed_items,
            video_frames=frames_of_videos(shard.items),
        )
        outcomes = self._committer.submit(finished)
        return outcomes if upcoming is not None else [*outcomes, *self._committer.wait()]

    def finish(self) -> list[Outcome]:
        """Wait until all computed shards are written; return their outcomes."""
        return self._committer.wait()

    def warm_up(self) -> None:
        """Decode and compute a known-good image; a ``DeviceError`` is as in ``process``."""
        with process_failures():
            self._row_predictor.warm_up()

    def run_trial(self, item: ManifestItem) -> None:
        """Compute one item alone, and write nothing; a ``DeviceError`` is as in ``process``.

        Errors of its storage or data are ignored: they kill no process.
        """
        shard = Shard(_TRIAL_NUMBER, (item,))
        prefetched = self._prefetched(shard)
        try:
            with process_failures():
                self._compute(shard, prefetched)
        except StorageError:
            return  # the worker that computes the shard meets this error too, and reports it
        finally:
            prefetched.close()

    def close(self) -> None:
        self._prefetcher.close()
        self._committer.close()

    def _prefetched(self, shard: Shard) -> PrefetchedItems:
        if self._upcoming is not None:
            (number, prefetched), self._upcoming = self._upcoming, None
            if number == shard.number:
                return prefetched
            prefetched.close()
        return self._prefetcher.prefetch(shard.sound)

    def _is_exact(self) -> bool:
        return self._has_run_numbers and not self._row_predictor.is_split

    def _compute(self, shard: Shard, prefetched: Iterable[LoadedImage]) -> list[Row]:
        rows: dict[RowKey, Row] = {
            (item.item_id, 0): _poisoned(item, shard.poison[item.item_id])
            for item in shard.items
            if item.item_id in shard.poison
        }
        for found in self._row_predictor.predict(self._batches(prefetched, rows)):
            rows.update(found)
        return [rows[key] for key in sorted(rows)]

    def _batches(
        self, prefetched: Iterable[LoadedImage], rows: dict[RowKey, Row]
    ) -> Iterator[list[LoadedImage]]:
        """Group the images into batches; those that cannot be used become rows at once.

        Yields:
            Images of one padded shape.
        """
        groups = BatchGrouper[LoadedImage](self._settings.batch_size)
        for loaded in prefetched:
            if loaded.pixels is None:
                assert loaded.error is not None
                rows[loaded.key] = quarantined(loaded, loaded.error)
                continue
            height, width, _ = loaded.pixels.shape
            shape = self._row_predictor.predictor.padded_shape(height, width)
            yield from groups.add(shape, loaded, loaded.pixels.nbytes)
        yield from groups.rest()

    def _find_changed(self, shard: Shard, rows: Sequence[Row]) -> tuple[int, ...]:
        """Find items that a retry recovered from other bytes than those that were quarantined."""
        if self._settings.attempt is None:
            return ()
        recovered = {row.item_id for row in rows if row.status == "ok"}
        items = [item for item in shard.items if item.item_id in recovered]
        changed = [item for item in items if has_changed(item)]
        return tuple(item.item_id for item in changed)


def _frame_loader(settings: WorkerSettings) -> Callable[[ManifestItem], Iterator[LoadedFrame]]:
    """Choose how segments are decoded: those decoded at once share the worker's threads."""
    load = partial(load_frames, threads=max(1, settings.threads // SEGMENTS_AT_ONCE))
    return load if settings.attempt is None else lambda item: load(without_version(item))


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
