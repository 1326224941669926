"""Runs one function in several workers that share a torch process group, by Ray Train."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fcos_core.errors import ConfigError, FcosError, IncompleteRunError
from jobs.parallel.cores import num_cores
from jobs.parallel.private_folder import private_folder
from jobs.parallel.ray_session import connected, first_line
from jobs.parallel.ray_watch import check_ray
from jobs.parallel.signals import check_interrupted

if TYPE_CHECKING:
    import torch

    WorkerFunction = Callable[[Mapping[str, Any], torch.device], None]

_log = logging.getLogger(__name__)

_POLL_S = 0.2
_START_TIMEOUT_S = 1800
_MAX_FAILURES = 5
_RAY_TRAIN_ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(_START_TIMEOUT_S),
}
_OWN_CLUSTER = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}  # no cloud takes this machine back


@dataclass(frozen=True, kw_only=True)
class WorkerGroup:
    """The workers to start: each has ``threads`` cores, and where ``device`` is ``cuda`` a GPU."""

    count: int
    threads: int
    device: str


def run_workers(
    function: WorkerFunction,
    arguments: Mapping[str, Any],
    group: WorkerGroup,
    *,
    address: str | None,
    folder: Path,
    on_poll: Callable[[], None],
) -> None:
    """Run a function in all workers until every worker is done.

    When a worker fails, all are started again: the function goes on from what it has saved.

    Args:
        function: importable; called with ``arguments`` and the worker's device, inside torch's
            process group.
        arguments: picklable.
        group: the workers to start.
        address: of a Ray cluster; None starts one on this machine and ends it.
        folder: for Ray Train's own files; every machine can reach it, and it is removed at the end.
        on_poll: called several times a second while the workers run.

    Raises:
        ConfigError: files in ``folder`` cannot be locked, and the workers are on a cluster.
        IncompleteRunError: the workers do not start, or fail again and again.
    """
    num_cpus = max(num_cores(), group.count * group.threads)
    with connected(address, num_cpus=num_cpus) as ray:
        call = ray.cloudpickle.dumps((function, dict(arguments)))
        failure = None
        for num_failures in range(1, _MAX_FAILURES + 1):
            try:
                with _meeting_folder(address, folder) as private:
                    task = _Task(
                        call=call,
                        group=group,
                        folder=str(folder),
                        meeting_file=str(private / "meeting"),
                        is_own_cluster=address is None,
                    )
                    failure = _run_once(ray, task, on_poll)
            except ray.exceptions.RayTaskError:
                raise  # a bug, with its own traceback
            except ray.exceptions.RayError as error:
                failure = first_line(error)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            if failure is None:
                return
            _log.warning("a training worker failed (%d): %s", num_failures, failure)
        raise IncompleteRunError(
            f"training workers failed {_MAX_FAILURES} times; the last failure: {failure}; "
            "the same command goes on from the last checkpoint"
        )


@dataclass(frozen=True, kw_only=True)
class _Task:
    """The work of Ray Train.

    ``call`` holds function and arguments, pickled, so that only the workers import their modules.
    Through ``meeting_file``, in a private folder, the workers find one another.
    """

    call: bytes
    group: WorkerGroup
    folder: str
    meeting_file: str
    is_own_cluster: bool


@contextlib.contextmanager
def _meeting_folder(address: str | None, folder: Path) -> Generator[Path]:
    """Make a folder that all workers can enter, and no other user.

    Yields:
        The folder; one of a cluster is removed with ``folder``, in which it is.
    """
    if address is None:
        with private_folder() as private:
            yield private
    else:
        folder.mkdir(parents=True, exist_ok=True)
        private = Path(tempfile.mkdtemp(dir=folder))
        _require_locks(private)
        yield private


def _require_locks(folder: Path) -> None:
    try:
        with (folder / "lock").open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        raise ConfigError(
            f"{str(folder.parent)!r}: a file there cannot be locked ({error.strerror}); by a "
            "locked file the workers of a cluster find one another"
        ) from error


def _run_once(ray: ModuleType, task: _Task, on_poll: Callable[[], None]) -> str | None:
    """Start the workers once; return None when they are done, or why a worker failed."""
    trainer = ray.remote(_RayTrainer).options(num_cpus=0, max_restarts=0).remote()
    call = trainer.fit.remote(task)
    try:
        while not ray.wait([call], timeout=_POLL_S)[0]:
            check_interrupted()
            check_ray()
            on_poll()
        on_poll()
        failures: list[Exception] = ray.get(call)
    finally:
        # This actor owns all other actors of the training, which end with it.
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(trainer)
    return _judge(ray, failures, task.group)


def _judge(ray: ModuleType, failures: list[Exception], group: WorkerGroup) -> str | None:
    # A worker's own error comes first: after the death of one, the others' errors only follow.
    for failure in failures:
        if isinstance(failure, FcosError):
            raise failure
    for failure in failures:
        if type(failure).__name__.startswith("WorkerGroupStartup"):
            each = f"{group.threads} CPUs" + (" and a GPU" if group.device == "cuda" else "")
            raise IncompleteRunError(
                f"the training workers did not start within {_START_TIMEOUT_S} s: {group.count} "
                f"workers need {each} each; the cluster has {ray.cluster_resources()}"
            ) from failure
        if isinstance(failure, ray.exceptions.RayError) or _is_from_ray_train(failure):
            return first_line(failure)
    if failures:
        raise failures[0]
    return None


def _is_from_ray_train(failure: Exception) -> bool:
    return type(failure).__module__.startswith("ray.train")


class _RayTrainer:
    """Ray Train's driver in a process of its own, whose end also ends the workers.

    In this process Ray Train would handle the signals, and leave its workers running.
    """

    def fit(self, task: _Task) -> list[Exception]:
        """Run the workers; return their failures in the order of their ranks."""
        os.environ.update(_RAY_TRAIN_ENVIRONMENT | (_OWN_CLUSTER if task.is_own_cluster else {}))
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
        from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

        from jobs.parallel.process_group import FileConfig

        group = task.group
        is_cuda = group.device == "cuda"
        trainer = TorchTrainer(
            _work,
            train_loop_config={"call": task.call},
            torch_config=FileConfig(file=task.meeting_file),
            scaling_config=ScalingConfig(
                num_workers=group.count,
                use_gpu=is_cuda,
                resources_per_worker={"CPU": group.threads} | ({"GPU": 1} if is_cuda else {}),
            ),
            run_config=RunConfig(
                name=f"fcos-{uuid.uuid4().hex}",
                storage_path=task.folder,
                failure_config=FailureConfig(
                    max_failures=0, controller_failure_limit=0, max_preemption_failures=0
                ),
            ),
        )
        try:
            trainer.fit()
        except ControllerError as error:
            return [error.controller_failure]
        except TrainingFailedError as error:
            failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
            return [failures[rank] for rank in sorted(failures)] or [error]
        return []


def _work(config: Mapping[str, bytes]) -> None:
    from ray import cloudpickle
    from ray.train.torch import get_device

    function, arguments = cloudpickle.loads(config["call"])
    function(arguments, get_device())
