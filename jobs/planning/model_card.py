"""What readers of the rows must know of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fcos_core import load_checkpoint
from jobs.rundir.directory import INPUT_SIZE, Category

if TYPE_CHECKING:
    from jobs.storage.weights import ResolvedWeights


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What readers of the rows must know of the model.

    Attributes:
        preset: its name.
        input_size: of the network, as ``run.json`` says it: least length of the image's shorter
            side and limit of its longer one, in pixels.
        categories: by label.
    """

    preset: str
    input_size: Mapping[str, int]
    categories: tuple[Category, ...]


def read_model_card(weights: ResolvedWeights) -> ModelCard:
    """Load a checkpoint to see that it can be loaded, and what is in it."""
    model = load_checkpoint(weights.path)
    return ModelCard(
        preset=model.config.preset,
        input_size={name: getattr(model.config.input, name) for name in INPUT_SIZE},
        categories=tuple(Category(id=c.id, name=c.name) for c in model.categories),
    )
