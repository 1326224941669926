"""The seam between the predictor and what runs the network.

Letters: ``B`` images, ``H``, ``W`` padded input.
"""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from fcos_core.config import EngineName, Precision
from fcos_core.structures import HeadOutputs


@runtime_checkable
class Engine(Protocol):
    """Runs one network on one device.

    Attributes:
        name: of the way it runs.
        precision: of backbone, pyramid and head.
    """

    name: EngineName
    precision: Precision

    def __call__(self, pixels: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        """Run the network on a normalised, padded batch in any memory format.

        The outputs may be in memory that the next call overwrites. One thread calls at a time.
        """
        ...


@runtime_checkable
class HoldsMemory(Protocol):
    """An engine that keeps memory of the device between calls."""

    def free_memory(self) -> None:
        """Release that memory; the next calls take it again."""
        ...
