"""One function over many blocks of data: in this process, or as Ray tasks where that pays."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
# Ray's tasks and references have no types

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from types import ModuleType
from typing import TypeVar

from fcos_core.errors import FcosError, IncompleteRunError
from jobs.runtime.cores import num_cores
from jobs.runtime.ray_session import connected, first_line, worker_options
from jobs.runtime.surroundings import check_interrupted

Block = TypeVar("Block")
Result = TypeVar("Result")

_BLOCKS_AHEAD = 2  # per worker, so that none waits for its next block
_POLL_S = 1.0
_NO_PROGRESS_S = 900.0  # a cluster may have to start a node first
_ANSWER_TIMEOUT_S = 60.0  # of a result that is ready
_MAX_RETRIES = 3  # of a task whose process or node died; nobody's block is lost by that


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
) -> Iterator[Result]:
    task = ray.remote(_apply).options(num_cpus=1, max_retries=_MAX_RETRIES, **worker_options())
    shared = ray.put(function)
    coming = enumerate(blocks)
    running: dict[Hashable, int] = {}
    done: dict[int, Result] = {}
    wanted = 0
    last_progress = time.monotonic()
    while True:
        # What is done but not yet wanted counts too: memory stays bounded when one block is slow.
        room = num_ahead - len(running) - len(done)
        for number, block in itertools.islice(coming, max(0, room)):
            running[task.remote(shared, block)] = number
        if not running and not done:
            return
        check_interrupted()
        ready, _ = ray.wait(list(running), timeout=_POLL_S) if running else ([], None)
        for reference in ready:
            done[running.pop(reference)] = ray.get(reference, timeout=_ANSWER_TIMEOUT_S)
            last_progress = time.monotonic()
        while wanted in done:
            yield done.pop(wanted)
            wanted += 1
        _require_progress(ray, last_progress, len(running))


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
