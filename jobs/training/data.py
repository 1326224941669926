"""The annotations a training reads, and the weights it starts from."""

from __future__ import annotations

from dataclasses import dataclass

from fcos_core.errors import ConfigError
from fcos_core.structures import Category
from jobs.annotations.coco_json import CocoAnnotations, load_annotations
from jobs.settings.train import TrainConfig
from jobs.storage.weights import ResolvedWeights, resolve_weights


@dataclass(frozen=True)
class TrainingData:
    """Everything a training reads, except the images.

    Without ``val_annotations`` nothing is evaluated; without weights, training starts from random
    ones.
    """

    annotations: CocoAnnotations
    val_annotations: CocoAnnotations | None
    weights: ResolvedWeights | None

    @property
    def categories(self) -> list[Category]:
        """The classes to learn, in the order of the labels."""
        return [Category(id=c.id, name=c.name) for c in self.annotations.categories]


def load_data(config: TrainConfig) -> TrainingData:
    """Read the annotation files and find the weights that the settings name.

    Raises:
        ConfigError: there are no images, or evaluation has other categories than training.
    """
    annotations = load_annotations(config.annotations)
    if not annotations.images:
        raise ConfigError(f"{annotations.uri}: lists no images, at least 1 is needed")
    weights = None if config.weights is None else resolve_weights(config.weights)
    if config.val_annotations is None:
        return TrainingData(annotations, None, weights)
    val_annotations = load_annotations(config.val_annotations)
    odd = set(annotations.categories) ^ set(val_annotations.categories)
    if odd:
        example = min(odd, key=lambda category: category.id)
        raise ConfigError(
            f"{val_annotations.uri}: its categories differ from those of {annotations.uri}; only "
            f"one file has category {example.id} {example.name!r}"
        )
    return TrainingData(annotations, val_annotations, weights)
