"""What a training reads: annotations, and weights to start from."""

from __future__ import annotations

from dataclasses import dataclass

from fcos_core.errors import ConfigError
from fcos_core.structures import Category
from jobs.annotations.coco_json import CocoAnnotations, load_annotations
from jobs.settings.train import TrainConfig
from jobs.storage.weights import ResolvedWeights, resolve_weights


@dataclass(frozen=True)
class TrainingData:
    """Everything but the images.

    Attributes:
        annotations: to learn from.
        val_annotations: to evaluate on, or None.
        weights: to start from, or None.
    """

    annotations: CocoAnnotations
    val_annotations: CocoAnnotations | None
    weights: ResolvedWeights | None

    @property
    def categories(self) -> list[Category]:
        """One per label."""
        return [Category(id=c.id, name=c.name) for c in self.annotations.categories]


def load_data(config: TrainConfig) -> TrainingData:
    """Read what the settings name.

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
            f"{val_annotations.uri}: its categories are not those of {annotations.uri}; only one "
            f"of them has {example.id} {example.name!r}"
        )
    return TrainingData(annotations, val_annotations, weights)
