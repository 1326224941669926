"""The annotations a training reads, and the weights it starts from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from fcos_core.category import Category
from fcos_core.errors import ConfigError
from jobs.annotations.coco_json import CocoAnnotations, load_annotations
from jobs.settings.train import TrainConfig
from jobs.storage.weights import ResolvedWeights, resolve_weights
from jobs.training.image_sizes import with_image_sizes


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Ids of the images that cannot be used and are not: to train on, and to evaluate on."""

    train: tuple[int, ...] = ()
    val: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainingData:
    """Everything a training reads, except the images.

    Without ``val_annotations`` nothing is evaluated; without weights, training starts from random
    ones. The images of ``left_out`` are in neither of the annotations.
    """

    annotations: CocoAnnotations
    val_annotations: CocoAnnotations | None
    weights: ResolvedWeights | None
    left_out: LeftOut = LeftOut()

    def without(self, left_out: LeftOut) -> TrainingData:
        """Leave out images, with their boxes."""
        val = self.val_annotations
        return replace(
            self,
            annotations=_without(self.annotations, left_out.train),
            val_annotations=None if val is None else _without(val, left_out.val),
            left_out=left_out,
        )

    @property
    def categories(self) -> list[Category]:
        """The classes to learn, in the order of the labels."""
        return [Category(id=c.id, name=c.name) for c in self.annotations.categories]


def load_data(config: TrainConfig) -> TrainingData:
    """Read the annotation files and find the weights that the settings name.

    Raises:
        ConfigError: there are no images, a category cannot be learned, or evaluation has other
            categories than training.
    """
    annotations = _with_sizes(load_annotations(config.annotations), config.images, config)
    if not annotations.images:
        raise ConfigError(f"{annotations.uri}: lists no images, at least 1 is needed")
    _require_usable_categories(annotations)
    weights = None if config.weights is None else resolve_weights(config.weights)
    if config.val_annotations is None:
        return TrainingData(annotations, None, weights)
    val_annotations = load_annotations(config.val_annotations)
    val_annotations = _with_sizes(val_annotations, config.val_images or config.images, config)
    odd = set(annotations.categories) ^ set(val_annotations.categories)
    if odd:
        example = min(odd, key=lambda category: category.id)
        raise ConfigError(
            f"{val_annotations.uri}: its categories differ from those of {annotations.uri}; only "
            f"one file has category {example.id} {example.name!r}"
        )
    return TrainingData(annotations, val_annotations, weights)


def _require_usable_categories(annotations: CocoAnnotations) -> None:
    """Refuse what no checkpoint can hold before anything is trained.

    Raises:
        ConfigError: an id is too large, or a name is no text.
    """
    try:
        for category in annotations.categories:
            Category(id=category.id, name=category.name)
    except ConfigError as error:
        raise ConfigError(f"{annotations.uri}: {error}") from error


def _without(annotations: CocoAnnotations, ids: Collection[int]) -> CocoAnnotations:
    if not ids:
        return annotations
    assert annotations.file_names is not None
    is_kept = ~np.isin(annotations.image_ids, list(ids))
    is_used = is_kept[annotations.image_index]
    names = zip(annotations.file_names, is_kept, strict=True)
    return replace(
        annotations,
        image_ids=annotations.image_ids[is_kept],
        image_sizes=annotations.image_sizes[is_kept],
        file_names=tuple(name for name, is_in in names if is_in),
        frames=None,
        ids=annotations.ids[is_used],
        image_index=(np.cumsum(is_kept) - 1)[annotations.image_index[is_used]],
        labels=annotations.labels[is_used],
        boxes=annotations.boxes[is_used],
        areas=annotations.areas[is_used],
        is_crowd=annotations.is_crowd[is_used],
    )


def _with_sizes(annotations: CocoAnnotations, folder: str, config: TrainConfig) -> CocoAnnotations:
    return with_image_sizes(annotations, folder, num_threads=config.loader_threads)
