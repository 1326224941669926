"""One function over many blocks of data: in this process, or as Ray tasks where that pays.

Blocks that may kill the process that works on them, such as damaged videos, stay out of this one.
"""

from __future__ import annotations

import itertools
import logging
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, Literal, TypeVar

from fcos_core.errors import FcosError, IncompleteRunError
from jobs.parallel.child_process import ChildCrashedError, ChildProcess
from jobs.parallel.cores import num_cores
from jobs.parallel.ray_session import connected, first_line, worker_options
from jobs.parallel.ray_watch import check_ray
from jobs.parallel.signals import check_interrupted
from jobs.storage.without_pandas import keep_pandas_out
from jobs.waiting import LastingStates

_log = logging.getLogger(__name__)

Block = TypeVar("Block")
Result = TypeVar("Result")

_BLOCKS_AHEAD = 2  # per worker, so that no worker waits for its next block
_POLL_S = 1.0
_NO_PROGRESS_S = 900.0  # a cluster may have to start a node first
_GET_TIMEOUT_S = 60.0  # of a result that is ready
_MAX_RETRIES = 3  # by Ray, of a task whose process or node died
_TRIALS = 3  # without Ray, of a block whose child crashes


@dataclass(frozen=True)
class TaskCrashed(Generic[Block]):
    """The result of a block on which every process crashed; ``reason``: how the last one ended."""

    block: Block
    reason: str


def num_workers_for(asked: int | Literal["auto"], amount: int, *, worth_ray: int) -> int | None:
    """Return the number of workers for :func:`map_blocks`: 1 for less work than is worth Ray."""
    if asked != "auto":
        return asked
    return 1 if amount < worth_ray else None


def map_blocks(
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    *,
    num_workers: int | None,
    address: str | None,
) -> Iterator[Result]:
    """Apply a function to every block, with few blocks in memory at a time.

    Args:
        function: picklable, without side effects.
        blocks: picklable.
        num_workers: 1 works in this process, without Ray; None takes one worker per CPU.
        address: of a Ray cluster; None starts one on this machine and ends it.

    Yields:
        The results, in the order of the blocks.

    Raises:
        IncompleteRunError: Ray failed, or no block was done for too long.
    """
    if num_workers == 1:
        yield from map(function, blocks)
        return
    for result in _map_on_ray(function, blocks, num_workers, address):
        if isinstance(result, TaskCrashed):
            raise IncompleteRunError(f"Ray failed: {result.reason}")
        yield result


def map_blocks_isolated(
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    *,
    num_workers: int | None,
    address: str | None,
    limit_s: Callable[[Block], float],
) -> Iterator[Result | TaskCrashed[Block]]:
    """Apply a function to every block as ``map_blocks`` does, but never in this process.

    The function may be called again for a block after a crash. One worker is a child of this
    process, without Ray; there a block's time limit is ``limit_s``. Ray's tasks have none.

    Yields:
        The results, in the order of the blocks, or ``TaskCrashed``.
    """
    if num_workers == 1:
        yield from map_blocks_in_child(function, blocks, limit_s=limit_s)
    else:
        yield from _map_on_ray(function, blocks, num_workers, address)


def map_blocks_in_child(
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    *,
    limit_s: Callable[[Block], float],
) -> Iterator[Result | TaskCrashed[Block]]:
    """Apply a function to block after block in a child process, in a new one after each crash.

    See ``map_blocks_isolated``.

    Yields:
        The results, in the order of the blocks, or ``TaskCrashed``.
    """
    child: ChildProcess[Block, Result] | None = None
    try:
        for block in blocks:
            reason = ""
            for _ in range(_TRIALS):
                child = child or ChildProcess(function)
                try:
                    yield child.call(block, limit_s=limit_s(block))
                    break
                except ChildCrashedError as error:
                    child.close()
                    child, reason = None, str(error)
            else:
                yield TaskCrashed(block, f"the process that works on it dies: {reason}")
    finally:
        if child is not None:
            child.close()


def _map_on_ray(
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    num_workers: int | None,
    address: str | None,
) -> Iterator[Result | TaskCrashed[Block]]:
    with connected(address, num_cpus=num_workers or num_cores()) as ray:
        num_workers = num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        try:
            yield from _map_with(ray, function, blocks, num_workers * _BLOCKS_AHEAD)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, FcosError):
                raise error.cause from None
            raise  # a bug, with the task's own traceback
        except ray.exceptions.RayError as error:
            raise IncompleteRunError(f"Ray failed: {first_line(error)}") from error


def _map_with(
    ray: ModuleType,
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    num_ahead: int,
) -> Iterator[Result | TaskCrashed[Block]]:
    task = ray.remote(_apply).options(num_cpus=1, max_retries=_MAX_RETRIES, **worker_options())
    shared = ray.put(function)
    coming = enumerate(blocks)
    running: dict[Hashable, tuple[int, Block]] = {}
    done: dict[int, Result | TaskCrashed[Block]] = {}
    wanted = 0
    last_progress = time.monotonic()
    states = LastingStates()
    while True:
        # A result that waits for an earlier block counts too, or memory would not be bounded.
        num_new = num_ahead - len(running) - len(done)
        for number, block in itertools.islice(coming, max(0, num_new)):
            running[task.remote(shared, block)] = number, block
        if not running and not done:
            return
        check_interrupted()
        check_ray()
        waiting = list(running)
        ready: Sequence[Hashable] = ray.wait(waiting, timeout=_POLL_S)[0] if waiting else ()
        for reference in ready:
            number, block = running.pop(reference)
            done[number] = _result(ray, reference, block)
            last_progress = time.monotonic()
        _, mentioned = states.update([] if wanted or done else ["first"])
        if mentioned:
            _log.info("no task is done yet: %s", _describe_waiting(ray, len(running)))
        while wanted in done:
            yield done.pop(wanted)
            wanted += 1
        _require_progress(ray, last_progress, len(running))


def _result(ray: ModuleType, reference: Hashable, block: object) -> Any:  # noqa: ANN401 -- of any function
    """Get a task's result, or say that its process died each time that Ray tried."""
    try:
        return ray.get(reference, timeout=_GET_TIMEOUT_S)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        return TaskCrashed(block, f"the process that works on it dies: {first_line(error)}")


def _apply(function: Callable[[Block], Result], block: Block) -> Result:
    """The function of every task; Ray takes no partial functions."""
    if "pyarrow" in sys.modules:  # the function's modules are imported by now
        keep_pandas_out()
    return function(block)


def _require_progress(ray: ModuleType, last_progress: float, num_running: int) -> None:
    if num_running and time.monotonic() - last_progress > _NO_PROGRESS_S:
        raise IncompleteRunError(
            f"no task was done for {_NO_PROGRESS_S:g} s: {_describe_waiting(ray, num_running)}"
        )


def _describe_waiting(ray: ModuleType, num_running: int) -> str:
    return f"{num_running} tasks of one CPU each wait on a cluster with {ray.cluster_resources()}"
