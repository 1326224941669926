"""Step 9: from JPEG files to detections, and how fast they can be decoded."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.shared_memory import SharedMemory

from benchmarks.gpu.context import SCORE_THRESHOLD, Context
from benchmarks.gpu.decoding import (
    FRAME_BYTES,
    PHOTO_HEIGHT,
    Photo,
    decode_file,
    decode_into,
    prepare,
)
from benchmarks.gpu.photos import write_jpegs
from fcos_core.predictor import Predictor

_SLOTS = 64
_BATCHES_AHEAD = 3


def run(context: Context) -> None:
    folder = context.work / "jpegs"
    write_jpegs(context, folder, context.sizes.files)
    files = sorted(str(path) for path in folder.iterdir())
    cores = len(os.sched_getaffinity(0))
    counts = sorted({1, min(4, cores), cores})
    for count in counts:
        context.try_part("threads", lambda n=count: _threads(context, files, n))
    for count in counts:
        context.try_part("processes", lambda n=count: _processes(context, files, n))
    batch = 32 if context.is_cuda else 2
    engine, precision = ("cuda", "bf16") if context.is_cuda else ("folded", "fp32")
    predictor = Predictor(
        context.model(), device=context.device, engine=engine, precision=precision,
        batch_size=batch, score_threshold=SCORE_THRESHOLD,
    )  # fmt: skip
    images = [decode_file(file) for file in files[:batch]]
    predictor.predict_batch(images)
    context.try_part("without decoding", lambda: _submitted(context, predictor, images))
    for count in counts:
        context.try_part("end to end", lambda n=count: _end_to_end(context, predictor, files, n))


def _threads(context: Context, files: Sequence[str], count: int) -> None:
    with ThreadPoolExecutor(count, initializer=prepare) as pool:
        started = time.perf_counter()
        total = sum(photo.shape[0] for photo in pool.map(decode_file, files, chunksize=8))
        seconds = time.perf_counter() - started
    assert total == PHOTO_HEIGHT * len(files)
    context.record("threads", workers=count, images_per_s=round(len(files) / seconds, 1))


def _processes(context: Context, files: Sequence[str], count: int) -> None:
    """Decode into shared memory, as a worker would have it done into its pinned slots."""
    memory = SharedMemory(create=True, size=_SLOTS * FRAME_BYTES)
    try:
        spawning = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(count, mp_context=spawning, initializer=prepare) as pool:
            list(pool.map(decode_into, [memory.name] * count, range(count), files[:count]))
            started = time.perf_counter()
            waiting: deque[Future[int]] = deque()
            for i, file in enumerate(files):
                if len(waiting) == _SLOTS:
                    waiting.popleft().result()
                waiting.append(pool.submit(decode_into, memory.name, i % _SLOTS, file))
            for future in waiting:
                future.result()
            seconds = time.perf_counter() - started
    finally:
        memory.close()
        memory.unlink()
    context.record("processes", workers=count, images_per_s=round(len(files) / seconds, 1))


def _submitted(context: Context, predictor: Predictor, images: Sequence[Photo]) -> None:
    """The loop of a worker over images that are decoded already."""
    batches = max(2, min(30, context.sizes.files // len(images)))
    with _Utilization(context) as utilization:
        started = time.perf_counter()
        before = predictor.submit(images)
        for _ in range(batches - 1):
            after = predictor.submit(images)
            before.result()
            before = after
        before.result()
        seconds = time.perf_counter() - started
    context.record(
        "without decoding", batch=len(images), busy=utilization.share,
        images_per_s=round(batches * len(images) / seconds, 1),
    )  # fmt: skip


def _end_to_end(context: Context, predictor: Predictor, files: Sequence[str], workers: int) -> None:
    """Read, decode in threads, submit one batch ahead, read detections."""
    size = predictor.batch_size
    groups = [files[i : i + size] for i in range(0, len(files), size)]
    found = 0
    with ThreadPoolExecutor(workers, initializer=prepare) as pool, _Utilization(context) as busy:
        started = time.perf_counter()
        decoding = deque(
            [pool.submit(decode_file, file) for file in group] for group in groups[:_BATCHES_AHEAD]
        )
        rest = iter(groups[_BATCHES_AHEAD:])
        before = None
        while decoding:
            images = [future.result() for future in decoding.popleft()]
            if (group := next(rest, None)) is not None:
                decoding.append([pool.submit(decode_file, file) for file in group])
            after = predictor.submit(images)
            if before is not None:
                found += sum(len(one) for one in before.result())
            before = after
        assert before is not None
        found += sum(len(one) for one in before.result())
        seconds = time.perf_counter() - started
    context.record(
        "end to end", threads=workers, files=len(files), detections=found, busy=busy.share,
        images_per_s=round(len(files) / seconds, 1),
    )  # fmt: skip


class _Utilization:
    """The share of time in which the GPU ran a kernel, by ``nvidia-smi`` ten times a second."""

    def __init__(self, context: Context) -> None:
        self._is_cuda = context.is_cuda
        self._values: list[int] = []
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    @property
    def share(self) -> float | str:
        values = self._values[1:]  # the first one looks back to before the start
        return round(sum(values) / len(values) / 100, 3) if values else "unknown"

    def __enter__(self) -> _Utilization:
        if self._is_cuda:
            command = (
                "nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits -lms 100"
            )
            try:
                self._process = subprocess.Popen(  # noqa: S603
                    command.split(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
                )
            except OSError:
                return self
            self._thread = threading.Thread(target=self._collect, daemon=True)
            self._thread.start()
        return self

    def _collect(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip().isdigit():
                self._values.append(int(line))

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._thread is not None:
            self._process.terminate()
            self._process.wait()
            self._thread.join()
