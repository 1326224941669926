"""``state.safetensors``: the state from which an interrupted training resumes.

Each save replaces the whole file. Random numbers need no state: data order and augmentation follow
from the seed and the step.
"""

# safetensors has no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize

from fcos_core.errors import CheckpointError, one_line
from fcos_core.training import Trainer
from jobs.storage import join, storage_for
from jobs.training.training_json import STATE_NAME, code_version

_FORMAT = "fcos-batch-training/1"


def save_state(out: str, trainer: Trainer) -> None:
    """Write the state; after the return it survives a crash of the machine."""
    tensors = {name: value.cpu().contiguous() for name, value in trainer.state().items()}
    header = {"format": _FORMAT, "step": str(trainer.num_done), "version": code_version()}
    uri = join(out, STATE_NAME)
    storage_for(uri).write(uri, serialize(tensors, header))


def saved_step(out: str) -> int:
    """Number of steps done in the saved state; 0 if no state is saved.

    Raises:
        CheckpointError: the state is damaged.
    """
    path = Path(join(out, STATE_NAME))
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            return _step_of(path, file.metadata())
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_unreadable(path, error)) from error


def load_state(out: str, trainer: Trainer) -> None:
    """Restore a new trainer from the saved state; change nothing if no state is saved.

    Raises:
        CheckpointError: the state is damaged or belongs to another model.
    """
    path = Path(join(out, STATE_NAME))
    if not path.is_file():
        return
    try:
        with safe_open(path, framework="pt") as file:
            step = _step_of(path, file.metadata())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        trainer.load_state(tensors, num_done=step)
    except (SafetensorError, OSError, KeyError, RuntimeError) as error:
        raise CheckpointError(_unreadable(path, error)) from error


def _step_of(path: Path, header: dict[str, str] | None) -> int:
    if header is None or header.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: is not a training state of format {_FORMAT}")
    return int(header["step"])


def _unreadable(path: Path, error: Exception) -> str:
    return f"{path}: the training cannot be resumed: {one_line(error)}; choose another --out"
