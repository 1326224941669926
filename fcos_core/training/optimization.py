"""Optimiser and learning rate, and the optimiser's state as named tensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fcos_core.config import Precision
from fcos_core.errors import ConfigError
from fcos_core.training.freezing import NUM_STAGES

_MOMENTUM = 0.9
_STEP_SHARES = (2 / 3, 8 / 9)


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """How the weights are updated.

    Args:
        num_steps: number of optimisation steps; the schedule ends with the last one.
        optimizer: ``adamw``, or ``sgd`` with momentum 0.9 (the paper's).
        learning_rate: the peak of the schedule.
        weight_decay: decay of convolution weights; biases and norms have none.
        warmup_steps: number of steps in which the rate rises linearly from zero.
        schedule: ``cosine`` to zero, or ``step``: a tenth after 2/3 and after 8/9 of the steps (the
            paper's).
        max_gradient_norm: limit to which gradients with a larger norm are scaled down.
        average_decay: decay of the weights' exponential moving average; 0 keeps the last weights.
        precision: of backbone, pyramid and head; losses are float32.
        freeze_stages: number of stages of the backbone that do not learn, counted from the stem.
    """

    num_steps: int
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_steps: int = 200
    schedule: Literal["cosine", "step"] = "cosine"
    max_gradient_norm: float = 10.0
    average_decay: float = 0.998
    precision: Precision = "fp32"
    freeze_stages: int = 0

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ConfigError(f"num_steps {self.num_steps}: must be at least 1")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate {self.learning_rate}: must be > 0")
        if not 0 <= self.average_decay < 1:
            raise ConfigError(f"average_decay {self.average_decay}: must be in [0, 1)")
        if not 0 <= self.freeze_stages <= NUM_STAGES:
            raise ConfigError(
                f"freeze_stages {self.freeze_stages}: must be in 0..{NUM_STAGES}, the stem and "
                "C2 to C5"
            )


def rate_factor(step: int, config: OptimizationConfig) -> float:
    """Learning rate at a step (from 0) as a share of its peak."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        progress = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 0.1 ** sum(step >= config.num_steps * share for share in _STEP_SHARES)


def make_optimizer(model: nn.Module, config: OptimizationConfig) -> torch.optim.Optimizer:
    """Make the optimiser of all parameters that require gradients."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=_MOMENTUM)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state by ``<parameter>/<slot>``; empty before its first step."""
    return {
        f"{name}/{slot}": value
        for name, parameter in model.named_parameters()
        for slot, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Undo :func:`optimizer_tensors` in a new optimiser of this model, bit for bit."""
    parameters = dict(model.named_parameters())
    for key, value in tensors.items():
        name, _, slot = key.rpartition("/")
        parameter = parameters[name]
        if slot != "step":  # torch keeps the step on the CPU
            # The strides of the parameter decide which kernels run, and so the last bits.
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)  # noqa: PLW2901
        optimizer.state[parameter][slot] = value
