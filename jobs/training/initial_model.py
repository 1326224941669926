"""The model a training starts from: random weights, or those of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from fcos_core.category import Category
from fcos_core.checkpoint import BATCH_COUNTER, load_checkpoint
from fcos_core.config import BackboneConfig, ModelConfig, preset_config
from fcos_core.errors import CheckpointError
from fcos_core.model.detector import FCOS
from jobs.settings.train import TrainConfig
from jobs.storage.weights import ResolvedWeights

_CLASS_PREDICTOR = "head.classification_head.cls_logits."


def build_initial_model(
    config: TrainConfig, categories: Sequence[Category], weights: ResolvedWeights | None
) -> FCOS:
    """Build the model with random weights, or with those of a checkpoint of its architecture.

    There is one category per label. Random weights depend on torch's random state.
    """
    model = FCOS(_model_config(config, len(categories)), categories)
    if weights is not None:
        _copy_weights(model, weights)
    return model


def _model_config(config: TrainConfig, num_classes: int) -> ModelConfig:
    base = preset_config(config.preset, num_classes, config.backbone)
    return replace(
        base,
        input=replace(base.input, min_size_px=config.min_size, max_size_px=config.max_size),
        backbone=BackboneConfig(
            name=config.backbone,
            width=config.backbone_width,
            norm=config.backbone_norm,
            fpn_channels=config.fpn_channels,
        ),
        head=replace(base.head, num_convs=config.head_convs, num_groups=config.head_groups),
    )


def _copy_weights(model: FCOS, weights: ResolvedWeights) -> None:
    source = load_checkpoint(weights.path)
    weights.check_unchanged()
    given, wanted = source.state_dict(), model.state_dict()
    if source.categories != model.categories:  # the class predictor stays random
        for name in [name for name in given if name.startswith(_CLASS_PREDICTOR)]:
            given[name] = wanted[name]
    # Frozen batch norm has no counter; trainable batch norm counts from 0 again.
    given = {name: value for name, value in given.items() if not name.endswith(BATCH_COUNTER)}
    given |= {name: value for name, value in wanted.items() if name.endswith(BATCH_COUNTER)}
    for name in sorted(given.keys() ^ wanted.keys()):
        where = "lacks" if name in wanted else "has"
        raise CheckpointError(
            f"weights {weights.spec}: {where} {name}, unlike the model to train"
            f"{_differences(source.config, model.config)}"
        )
    for name, value in given.items():
        if value.shape != wanted[name].shape:
            raise CheckpointError(
                f"weights {weights.spec}: {name} has shape {tuple(value.shape)}, the model to "
                f"train has {tuple(wanted[name].shape)}"
            )
    model.load_state_dict(given)


def _differences(source: ModelConfig, model: ModelConfig) -> str:
    """Name the settings by which two architectures differ."""
    named = [
        f"{part} {name} {before!r}, here {now!r}"
        for part in ("backbone", "head")
        for (name, before), now in zip(
            asdict(getattr(source, part)).items(),
            asdict(getattr(model, part)).values(),
            strict=True,
        )
        if before != now
    ]
    return f": {'; '.join(named)}" if named else ""
