"""The workers of one training, who add up what they know; one worker is the same with nobody else.

Each holds a whole model and its share of every batch (data parallel training).
"""

# torch.distributed leaves the type of some of its functions partly unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

Item = TypeVar("Item")


@dataclass(frozen=True)
class Peers:
    """This worker's place among ``count``.

    Args:
        rank: from 0; the worker of rank 0 writes and reports.
        count: workers, this one included.
    """

    rank: int = 0
    count: int = 1

    @staticmethod
    def of_process_group() -> "Peers":
        """The workers of torch's default process group; alone where there is none."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return Peers()
        return Peers(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this one writes and reports."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This worker's part of a sequence whose length their number divides."""
        size = len(items) // self.count
        assert size * self.count == len(items)
        return items[self.rank * size : (self.rank + 1) * size]

    def sum(self, values: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Add up all workers' values; they all get the same bits."""
        if self.count > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def gather(self, item: Item) -> list[Item]:
        """Collect what each worker has, by rank; for rare and small things."""
        if self.count == 1:
            return [item]
        gathered: list[Item | None] = [None] * self.count
        distributed.all_gather_object(gathered, item)
        return [found for found in gathered if found is not None]

    def join(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Wrap a model so that backward gives every worker the mean of all gradients.

        Args:
            model: on the device; all workers' become equal to the first one's.
            device: of this worker.
        """
        if self.count == 1:
            return model
        return DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            # Running statistics are not sent around: they play no part in training.
            broadcast_buffers=False,
        )
