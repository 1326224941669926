"""The classes of a model, as people and annotations name them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fcos_core.config import ModelConfig
from fcos_core.errors import ConfigError

_ID_BITS = 32
"""Bits of a category id, as in the tables of detections."""


@dataclass(frozen=True)
class Category:
    """One class of a model: ``id`` is COCO's ``category_id``, its index in the list the label.

    Raises:
        ConfigError: the id does not fit in 32 bits, or the name cannot be written as UTF-8.
    """

    id: int
    name: str

    def __post_init__(self) -> None:
        if not -(2 ** (_ID_BITS - 1)) <= self.id < 2 ** (_ID_BITS - 1):
            raise ConfigError(f"category id {self.id}: must fit in {_ID_BITS} bits")
        try:
            self.name.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"category {self.id}: name {self.name!r} is not UTF-8") from error


def check_categories(config: ModelConfig, categories: Sequence[Category]) -> None:
    """Check that there is one category per class, each with an id of its own.

    Raises:
        ConfigError: the numbers differ, or two categories share an id.
    """
    if len(categories) != config.num_classes:
        raise ConfigError(
            f"{len(categories)} categories, {config.num_classes} classes: the numbers must be equal"
        )
    (commonest, count), *_ = Counter(category.id for category in categories).most_common(1)
    if count > 1:
        raise ConfigError(f"{count} categories have the id {commonest}: ids must differ")
