"""One optimisation step: forward, losses over all workers, backward, one update of the weights."""

# torch leaves the type of backward() partly unknown.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from fcos_core.engines.eager import autocast
from fcos_core.errors import DataError
from fcos_core.losses import Losses, Normalizers, loss_counts
from fcos_core.model.detector import FCOS
from fcos_core.training.average import MovingAverage
from fcos_core.training.examples import TrainingBatch
from fcos_core.training.freezing import freeze_stages
from fcos_core.training.optimization import (
    OptimizationConfig,
    make_optimizer,
    optimizer_tensors,
    rate_factor,
    restore_optimizer,
)
from fcos_core.training.process_group import ProcessGroup


@dataclass(frozen=True)
class StepReport:
    """Losses, gradient norm and learning rate of one step, over all workers."""

    step: int
    learning_rate: float
    classification: float
    box: float
    centerness: float
    gradient_norm: float

    @property
    def total(self) -> float:
        return self.classification + self.box + self.centerness


class Trainer:
    """Updates a model's weights, one batch at a time.

    Each worker has a trainer: up to rounding, ``n`` workers with a batch of ``b`` each do the same
    as one worker with a batch of ``n * b``. The model is put into training mode on the device.
    """

    def __init__(
        self,
        model: FCOS,
        config: OptimizationConfig,
        device: torch.device,
        group: ProcessGroup | None = None,
    ) -> None:
        self.group = group or ProcessGroup()
        self.config = config
        self.device = device
        model = model.to(memory_format=torch.channels_last).to(device)
        self._average = MovingAverage(model, config.average_decay)
        if self.group.size > 1 and device.type == "cuda":
            # The parameters keep their names; the statistics are those of all workers.
            model = cast("FCOS", nn.SyncBatchNorm.convert_sync_batchnorm(model))
        self.model: FCOS = model.train()
        freeze_stages(self.model, config.freeze_stages)
        self.optimizer = make_optimizer(self.model, config)
        self.num_done = 0
        # Only float16 needs it: small gradients would become zero.
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self._network = self.group.wrap(self.model, device)

    @property
    def average(self) -> FCOS:
        """The model of averaged weights, in evaluation mode."""
        return self._average.model

    def step(self, batch: TrainingBatch) -> StepReport:
        """Forward, backward and one update of the weights, on this worker's share of the batch.

        Returns:
            The losses before the update, over all workers.
        """
        learning_rate = self.config.learning_rate * rate_factor(self.num_done, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        losses = self._losses(batch)
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(losses.total()).backward()
        self._scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_gradient_norm)
        parts = torch.stack([losses.classification, losses.box, losses.centerness]).detach()
        # Copied from the device together: each copy waits for the device.
        means = self.group.sum(parts) / self.group.size
        numbers = cast("list[float]", torch.cat([means, norm[None]]).tolist())
        classification, box, centerness, gradient_norm = numbers
        self._check_finite(batch, parts, numbers)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self._average.update(self.model, self.num_done)
        self.num_done += 1
        return StepReport(
            self.num_done, learning_rate, classification, box, centerness, gradient_norm
        )

    def state(self) -> dict[str, Tensor]:
        """All tensors from which another trainer continues, bit for bit as this one would."""
        scaler = self._scaler.state_dict()
        return {
            **{f"model/{name}": value for name, value in self.model.state_dict().items()},
            **{f"average/{name}": value for name, value in self.average.state_dict().items()},
            **{
                f"optimizer/{name}": value
                for name, value in optimizer_tensors(self.optimizer, self.model).items()
            },
            **{f"scaler/{k}": torch.tensor(v, dtype=torch.float64) for k, v in scaler.items()},
        }

    def load_state(self, state: Mapping[str, Tensor], *, num_done: int) -> None:
        """Continue from another trainer's state, after ``num_done`` steps.

        The model and configuration must be the same.
        """
        parts: dict[str, dict[str, Tensor]] = {"average": {}, "model": {}, "optimizer": {}}
        for key, value in state.items():
            part, _, name = key.partition("/")
            parts.setdefault(part, {})[name] = value
        self.model.load_state_dict(parts["model"])
        self.average.load_state_dict(parts["average"])
        restore_optimizer(self.optimizer, self.model, parts["optimizer"])
        if "scaler" in parts:
            numbers = {name: float(value) for name, value in parts["scaler"].items()}
            counts = {name: int(numbers[name]) for name in ("growth_interval", "_growth_tracker")}
            self._scaler.load_state_dict(numbers | counts)
        self.num_done = num_done

    def _losses(self, batch: TrainingBatch) -> Losses:
        """Losses whose mean over the workers is the loss of the whole batch."""
        images, ground_truths = batch.tensors(self.device)
        with autocast(self.device, self.config.precision):
            outputs = self._network(images)
        targets = self.model.targets_of(images, outputs, ground_truths)
        counts = self.group.sum(loss_counts(targets))
        normalizers = Normalizers.of(counts, num_workers=self.group.size)
        return self.model.losses_of(images, outputs, targets, normalizers)

    def _check_finite(self, batch: TrainingBatch, parts: Tensor, numbers: list[float]) -> None:
        """Stop all workers at the same step, before the weights are updated.

        Raises:
            DataError: a loss or the gradient is not finite; the message names the images.
        """
        *losses, norm = numbers
        if all(map(math.isfinite, losses)) and (math.isfinite(norm) or self._scaler.is_enabled()):
            return
        is_ours = all(map(math.isfinite, losses)) or not bool(torch.isfinite(parts).all())
        places = [example.place for example in batch.examples] if is_ours else []
        named = ", ".join(place for found in self.group.gather(places) for place in found)
        what = f"gradient norm {norm}" if all(map(math.isfinite, losses)) else f"losses {losses}"
        raise DataError(f"step {self.num_done}: {what} on {named}")
