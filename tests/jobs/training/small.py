"""Settings of a training that is small enough for tests."""

from pathlib import Path

from jobs.settings.train import TrainConfig

SMALL = {
    "backbone": "resnet18",
    "backbone_width": 0.25,
    "fpn_channels": 32,
    "head_convs": 1,
    "head_groups": 8,
    "min_size": 96,
    "max_size": 96,
    "batch_size": 4,
    "warmup_steps": 2,
    "steps": 8,
    # Ray and pytest may have set another number of threads: equal bits are promised at equal ones.
    "threads": 1,
}


def small_settings(dataset: Path, out: Path, **changes) -> dict:
    """Settings by name; ``dataset`` is an annotation file beside ``images``."""
    paths = {"images": str(dataset.parent / "images"), "annotations": str(dataset), "out": str(out)}
    return paths | SMALL | changes


def small_training(dataset: Path, out: Path, **changes) -> TrainConfig:
    """The settings as a checked ``TrainConfig``."""
    return TrainConfig(**small_settings(dataset, out, **changes))
