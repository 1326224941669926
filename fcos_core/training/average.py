"""The exponential moving average of a model's weights, which is what is evaluated and kept."""

from copy import deepcopy

import torch

from fcos_core.model.detector import FCOS


class MovingAverage:
    """A second model that follows the first.

    Args:
        model: to follow; copied as it is now.
        decay: how much of the average stays at each update; 0 keeps the last weights.
    """

    def __init__(self, model: FCOS, decay: float) -> None:
        self.model: FCOS = deepcopy(model).eval().requires_grad_(False)  # noqa: FBT003 (torch's)
        self.decay = decay

    @torch.no_grad()
    def update(self, current: FCOS, num_done: int) -> None:
        """Take the current weights in.

        Args:
            current: the model that is followed.
            num_done: updates before this one; early averages would remember the random start, so
                the decay grows with it.
        """
        decay = min(self.decay, (1 + num_done) / (10 + num_done))
        averaged, values = self.model.state_dict(), current.state_dict()
        for name, value in averaged.items():
            if value.is_floating_point():
                value.lerp_(values[name], 1 - decay)
            else:
                value.copy_(values[name])
