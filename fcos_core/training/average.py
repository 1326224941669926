"""The exponential moving average of a model's weights, which is evaluated and saved."""

from copy import deepcopy

import torch

from fcos_core.model.detector import FCOS


class MovingAverage:
    """A second model that holds the average of the first one's weights, and starts as a copy.

    ``decay`` is the weight of the old average at each update; 0 keeps the last weights.
    """

    def __init__(self, model: FCOS, decay: float) -> None:
        self.model: FCOS = deepcopy(model).eval().requires_grad_(False)  # noqa: FBT003 (torch's)
        self.decay = decay

    @torch.no_grad()
    def update(self, current: FCOS, num_done: int) -> None:
        """Move the average towards the current weights, after ``num_done`` updates.

        The decay grows with the updates, or else the first averages would still contain the random
        start.
        """
        decay = min(self.decay, (1 + num_done) / (10 + num_done))
        averaged, values = self.model.state_dict(), current.state_dict()
        for name, value in averaged.items():
            if value.is_floating_point():
                value.lerp_(values[name], 1 - decay)
            else:
                value.copy_(values[name])
