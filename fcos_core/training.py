"""One optimisation step of FCOS, and the moving average of its weights; section 4 of the paper.

A job loops over :class:`Trainer.step`; it knows nothing of files, schedules of checkpoints or other
machines.
"""

# torch leaves the type of backward() partly unknown.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fcos_core.errors import ConfigError, DataError
from fcos_core.images import Uint8Image, normalize, resize, stack_padded
from fcos_core.model.detector import FCOS
from fcos_core.predictor import AUTOCAST_DTYPES, Precision
from fcos_core.structures import GroundTruth


@dataclass(frozen=True, kw_only=True)
class OptimizationConfig:
    """How the weights move.

    Args:
        num_steps: optimisation steps in all; the schedule ends there.
        optimizer: ``adamw``, or ``sgd`` with momentum 0.9 (the paper's).
        learning_rate: at its peak.
        weight_decay: of convolution weights; biases and norms have none.
        warmup_steps: linear rise from zero.
        schedule: ``cosine`` to zero, or ``step``: a tenth after 2/3 and after 8/9 of the steps (the
            paper's).
        max_gradient_norm: larger gradients are scaled down to it.
        average_decay: of the exponential moving average of the weights; 0 keeps the last weights.
        precision: of backbone, pyramid and head; losses are float32.
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

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ConfigError(f"num_steps {self.num_steps}: must be at least 1")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate {self.learning_rate}: must be > 0")
        if not 0 <= self.average_decay < 1:
            raise ConfigError(f"average_decay {self.average_decay}: must be in [0, 1)")


@dataclass(frozen=True)
class TrainingExample:
    """One picture and its boxes.

    Args:
        image: upright RGB uint8, height x width x 3.
        ground_truth: boxes in pixels of the picture.
        place: names the picture in messages.
    """

    image: Uint8Image
    ground_truth: GroundTruth
    place: str


@dataclass(frozen=True)
class StepReport:
    """What one step did; losses are plain numbers."""

    step: int
    learning_rate: float
    classification: float
    box: float
    centerness: float
    gradient_norm: float

    @property
    def total(self) -> float:
        """The sum that is minimised."""
        return self.classification + self.box + self.centerness


class Trainer:
    """Moves a model's weights, one batch at a time.

    Args:
        model: put into training mode on the device.
        config: optimiser, schedule and precision.
        device: where the work is done.
    """

    def __init__(self, model: FCOS, config: OptimizationConfig, device: torch.device) -> None:
        self.model: FCOS = model.to(memory_format=torch.channels_last).to(device).train()
        self.config = config
        self.device = device
        self.optimizer = _optimizer(self.model, config)
        self.average: FCOS = deepcopy(self.model).eval().requires_grad_(False)  # noqa: FBT003 (torch's)
        self.num_done = 0

    def step(self, examples: Sequence[TrainingExample]) -> StepReport:
        """Forward, backward and one move of the weights.

        Args:
            examples: the batch; pictures are padded to its largest.

        Returns:
            The losses before the move.

        Raises:
            DataError: a loss is not finite; the message names the pictures of the batch.
        """
        learning_rate = self.config.learning_rate * rate_factor(self.num_done, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        images, ground_truths = self._batch(examples)
        with torch.autocast(
            self.device.type,
            dtype=AUTOCAST_DTYPES.get(self.config.precision),
            enabled=self.config.precision in AUTOCAST_DTYPES,
        ):
            outputs = self.model(images)
        losses = self.model.losses_of(images, outputs, ground_truths)
        parts = torch.stack([losses.classification, losses.box, losses.centerness]).detach().cpu()
        if not bool(torch.isfinite(parts).all()):
            names = ", ".join(example.place for example in examples)
            raise DataError(f"step {self.num_done}: losses {[float(v) for v in parts]} on {names}")
        self.optimizer.zero_grad(set_to_none=True)
        losses.total().backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_gradient_norm)
        self.optimizer.step()
        self._update_average()
        self.num_done += 1
        classification, box, centerness = (float(v) for v in parts)
        return StepReport(
            self.num_done, learning_rate, classification, box, centerness, float(norm)
        )

    def _batch(self, examples: Sequence[TrainingExample]) -> tuple[Tensor, list[GroundTruth]]:
        config = self.model.config.input
        resized = [resize(normalize(e.image, config, self.device), config) for e in examples]
        pixels = stack_padded(resized, config.size_divisor, batch_size=len(resized))
        truths: list[GroundTruth] = []
        for example, image in zip(examples, resized, strict=True):
            height, width = example.image.shape[:2]
            scale = torch.tensor([image.shape[-1] / width, image.shape[-2] / height]).repeat(2)
            truth = example.ground_truth
            truths.append(GroundTruth(truth.boxes * scale, truth.labels).to(self.device))
        return pixels.contiguous(memory_format=torch.channels_last), truths

    @torch.no_grad()
    def _update_average(self) -> None:
        # Early averages would remember the random start: the decay grows with the number of steps.
        decay = min(self.config.average_decay, (1 + self.num_done) / (10 + self.num_done))
        averaged, current = self.average.state_dict(), self.model.state_dict()
        for name, value in averaged.items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])


def rate_factor(step: int, config: OptimizationConfig) -> float:
    """Learning rate at a step (from 0) as a share of its peak."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        progress = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * progress))
    return 0.1 ** sum(step >= config.num_steps * share for share in (2 / 3, 8 / 9))


def _optimizer(model: FCOS, config: OptimizationConfig) -> torch.optim.Optimizer:
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9)
    return torch.optim.AdamW(groups, lr=config.learning_rate)
