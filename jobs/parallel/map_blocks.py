"""One function over many blocks of data: in this process, or as Ray tasks where that pays.

Blocks that may kill whoever works at them, as damaged videos may, never come into this process.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# Ray's tasks and references have no types

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar

from fcos_core.errors import FcosError, IncompleteRunError
from jobs.parallel.child_process import Child, ChildDiedError
from jobs.parallel.cores import num_cores
from jobs.parallel.ray_session import connected, first_line, worker_options
from jobs.parallel.signals import check_interrupted

Block = TypeVar("Block")
Result = TypeVar("Result")

_BLOCKS_AHEAD = 2  # per worker, so that none waits for its next block
_POLL_S = 1.0
_NO_PROGRESS_S = 900.0  # a cluster may have to start a node first
_ANSWER_TIMEOUT_S = 60.0  # of a result that is ready
_MAX_RETRIES = 3  # of a task whose process or node died; nobody's block is lost by that
_TRIALS = 3  # of a block whose children die


@dataclass(frozen=True)
class TaskCrashed(Generic[Block]):
    """What comes of a block when every process dies that works at it.

    Attributes:
        block: which one.
        reason: how they die.
    """

    block: Block
    reason: str


def map_blocks(
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    *,
    num_workers: int | None,
    address: str | None,
) -> Iterator[Result]:
    """Apply a function to every block, few blocks at a time in memory.

    Args:
        function: picklable, without side effects.
        blocks: picklable.
        num_workers: 1 works in this process, without Ray; None takes as many as there are CPUs.
        address: of a Ray cluster; None starts one on this machine and ends it.

    Yields:
        The results, in the order of the blocks.

    Raises:
        IncompleteRunError: Ray fails, or nothing happens for too long.
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
    """Apply a function to every block, never in this process; see ``map_blocks``.

    Args:
        function: picklable, without side effects that count when it dies.
        blocks: picklable.
        num_workers: 1 works in a child of this process, without Ray.
        address: of a Ray cluster; None starts one on this machine and ends it.
        limit_s: how long a child may take for a block.

    Yields:
        The results, in the order of the blocks; of some, that they kill.
    """
    if num_workers == 1:
        yield from map_in_children(function, blocks, limit_s=limit_s)
    else:
        yield from _map_on_ray(function, blocks, num_workers, address)


def map_in_children(
    function: Callable[[Block], Result],
    blocks: Iterable[Block],
    *,
    limit_s: Callable[[Block], float],
) -> Iterator[Result | TaskCrashed[Block]]:
    """Apply a function to block after block in a child, and in another one after each death.

    Args:
        function: picklable, without side effects that count when it dies.
        blocks: picklable.
        limit_s: how long a child may take for a block.

    Yields:
        The results, in the order of the blocks; of some, that they kill.
    """
    child: Child[Block, Result] | None = None
    try:
        for block in blocks:
            reason = ""
            for _ in range(_TRIALS):
                child = child or Child(function)
                try:
                    yield child.ask(block, limit_s=limit_s(block))
                    break
                except ChildDiedError as error:
                    child.close()
                    child, reason = None, str(error)
            else:
                yield TaskCrashed(block, f"whoever works at it dies: {reason}")
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
    while True:
        # What is done but not yet wanted counts too: memory stays bounded when one block is slow.
        room = num_ahead - len(running) - len(done)
        for number, block in itertools.islice(coming, max(0, room)):
            running[task.remote(shared, block)] = number, block
        if not running and not done:
            return
        check_interrupted()
        ready, _ = ray.wait(list(running), timeout=_POLL_S) if running else ([], None)
        for reference in ready:
            number, block = running.pop(reference)
            done[number] = _result(ray, reference, block)
            last_progress = time.monotonic()
        while wanted in done:
            yield done.pop(wanted)
            wanted += 1
        _require_progress(ray, last_progress, len(running))


def _result(ray: ModuleType, reference: Hashable, block: object) -> Any:  # noqa: ANN401 -- of any function
    """Read what a task came to; its process may have died every time that Ray tried."""
    try:
        return ray.get(reference, timeout=_ANSWER_TIMEOUT_S)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        return TaskCrashed(block, f"whoever works at it dies: {first_line(error)}")


def _apply(function: Callable[[Block], Result], block: Block) -> Result:
    """What a task runs; Ray takes no partial functions."""
    return function(block)


def _require_progress(ray: ModuleType, last_progress: float, num_running: int) -> None:
    """End what hangs.

    Raises:
        IncompleteRunError: nothing was done for too long.
    """
    if num_running and time.monotonic() - last_progress > _NO_PROGRESS_S:
        raise IncompleteRunError(
            f"nothing happened for {_NO_PROGRESS_S:g} s: {num_running} tasks of one CPU each wait "
            f"on a cluster with {ray.cluster_resources()}"
        )
