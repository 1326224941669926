"""The process group of data parallel training: sums, gathered values and averaged gradients.

Each worker holds the whole model and a share of every batch. A single worker is a group of size 1.
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
class ProcessGroup:
    """The workers of one training, seen from one of them.

    Args:
        rank: this worker's number, from 0; the worker of rank 0 writes and reports.
        size: number of workers, this one included.
    """

    rank: int = 0
    size: int = 1

    @staticmethod
    def current() -> "ProcessGroup":
        """Torch's default process group; a group of size 1 if torch has none."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return ProcessGroup()
        return ProcessGroup(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """This worker's share of a sequence whose length is a multiple of the group's size."""
        num_items = len(items) // self.size
        assert num_items * self.size == len(items)
        return items[self.rank * num_items : (self.rank + 1) * num_items]

    def sum(self, values: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Add up the values of all workers; all workers get the same bits."""
        if self.size > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def gather(self, item: Item) -> list[Item]:
        """Collect one item from each worker, by rank; for small items, and not in every step."""
        if self.size == 1:
            return [item]
        gathered: list[Item | None] = [None] * self.size
        distributed.all_gather_object(gathered, item)
        return [found for found in gathered if found is not None]

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Wrap a model so that backward gives every worker the mean of all gradients.

        Every worker gets the weights of rank 0.
        """
        if self.size == 1:
            return model
        return DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            # Running statistics are not shared: training does not use them.
            broadcast_buffers=False,
        )
