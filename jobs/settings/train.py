"""Settings of ``fcos train``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fcos_core.config import BackboneName, Precision, PresetName
from jobs.settings.base import Address, JobSettings, Option

Side = Annotated[int, Field(ge=32)]

_WITHOUT_EFFECT_ON_RESULT = {
    "out",
    "num_workers",
    "address",
    "device",
    "threads",
    "loader_threads",
    "checkpoint_every",
    "tensorboard",
}


class TrainConfig(JobSettings):
    """Which images to learn from, which model, and how.

    The defaults train a ResNet-50 as the paper's improved version. Sizes are in pixels.
    """

    images: Annotated[str, Option("DIR")] = Field(description="folder of the images")
    annotations: Annotated[str, Option("FILE")] = Field(description="COCO annotation file")
    out: Annotated[str, Option("DIR")] = Field(
        min_length=1,
        description="folder of checkpoint and metrics; an unfinished training there is resumed",
    )
    val_images: str | None = Field(
        default=None, description="folder of the images to evaluate on; by default that of images"
    )
    val_annotations: str | None = Field(
        default=None, description="COCO annotation file to evaluate on; by default no evaluation"
    )
    evaluate_every: int | None = Field(
        default=None, ge=1, description="steps between evaluations; by default only the last step"
    )
    # Where the classes of the weights are others, the class predictor starts anew.
    weights: Annotated[str | None, Option("SPEC", default="random")] = Field(
        default=None,
        description="weights to start from: coco, demo, or the path or URI of a checkpoint",
    )
    preset: PresetName = Field(
        default="improved", description="which published FCOS; see fcos_core.config"
    )
    backbone: BackboneName = Field(default="resnet50", description="network of the backbone")
    backbone_width: float = Field(
        default=1.0, gt=0, le=1, description="factor of the backbone's channels"
    )
    backbone_norm: Literal["batch", "frozen"] = Field(
        default="batch", description="batch norm of the backbone, trained or frozen"
    )
    freeze_stages: int = Field(
        default=0,
        ge=0,
        le=5,
        description="stages of the backbone that are not trained: 1 the stem, 2 also C2, and so on",
    )
    fpn_channels: int = Field(default=256, ge=1, description="channels of pyramid and head")
    head_convs: int = Field(default=4, ge=0, description="convolutions of each branch of the head")
    head_groups: int = Field(default=32, ge=1, description="groups of the head's group norm")
    min_size: Side = Field(default=800, description="length the shorter side is resized to")
    max_size: Side = Field(default=1333, description="length the longer side may not exceed")
    min_sizes: tuple[Side, ...] | None = Field(
        default=None,
        min_length=1,
        description="lengths from which each step draws one in place of min_size, which the "
        "finished model uses",
    )
    flip: bool = Field(default=True, description="mirror half of the images")
    group_by_orientation: bool = Field(
        default=True, description="fill a batch with upright or with lying images only"
    )
    skip_invalid: bool = Field(
        default=False,
        description="leave out boxes without area, and images that cannot be decoded or have "
        "another size than their entry, instead of refusing the data",
    )
    steps: Annotated[int, Option("N")] = Field(
        default=90_000, ge=1, description="number of optimizer steps"
    )
    batch_size: Annotated[int, Option("N")] = Field(
        default=16, ge=1, description="images per step, over all workers"
    )
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="optimizer")
    learning_rate: float = Field(default=1e-3, gt=0, description="learning rate at its peak")
    weight_decay: float = Field(
        default=0.02, ge=0, description="weight decay of the convolution weights"
    )
    warmup_steps: int = Field(
        default=500, ge=0, description="steps of the learning rate's linear rise from zero"
    )
    schedule: Literal["cosine", "step"] = Field(
        default="cosine",
        description="cosine to zero, or step: a tenth after 2/3 and after 8/9 of the steps",
    )
    average_decay: float = Field(
        default=0.998, ge=0, lt=1, description="decay of the weights' moving average"
    )
    max_gradient_norm: float = Field(
        default=10.0, gt=0, description="norm to which larger gradients are scaled down"
    )
    precision: Precision = Field(
        default="fp32", description="number format of the network; losses are float32"
    )
    seed: Annotated[int, Option("N")] = Field(
        default=0, ge=0, description="seed of weights, order and augmentation"
    )
    num_workers: Annotated[
        Annotated[int, Field(ge=1)] | Literal["auto"],
        Option("N"),
        Field(description="workers that share each batch; auto: one per GPU"),
    ] = "auto"
    address: Address = None
    device: str = Field(
        default="auto", description="auto, cpu, cuda, or with one worker cuda:1 and such"
    )
    threads: int | None = Field(
        default=None, ge=1, description="CPU cores of each worker; by default chosen by machine"
    )
    loader_threads: int = Field(
        default=2, ge=1, description="threads of each worker that decode images"
    )
    checkpoint_every: int = Field(default=500, ge=1, description="steps between checkpoints")
    store: Literal["float32", "float16"] = Field(
        default="float32", description="number format of the finished checkpoint"
    )
    tensorboard: bool = Field(default=False, description="write the curves for TensorBoard as well")

    @model_validator(mode="after")
    def _evaluates_on_something(self) -> Self:
        for name in ("val_images", "evaluate_every"):
            if getattr(self, name) is not None and self.val_annotations is None:
                raise ValueError(f"{name} is given without val_annotations")
        return self

    @model_validator(mode="after")
    def _has_sizes_in_order(self) -> Self:
        for size in (self.min_size, *(self.min_sizes or ())):
            if size > self.max_size:
                raise ValueError(f"a shorter side of {size} is above max_size {self.max_size}")
        return self

    def deciding(self) -> dict[str, Any]:
        """Return the settings that the result depends on, by more than rounding."""
        return self.model_dump(mode="json", exclude=_WITHOUT_EFFECT_ON_RESULT)

    def is_evaluated_at(self, step: int) -> bool:
        """Return whether the averaged weights are scored after this step."""
        if self.val_annotations is None:
            return False
        every = self.evaluate_every
        return step == self.steps or (every is not None and step % every == 0)

    def is_kept_at(self, step: int) -> bool:
        """Return whether the step writes a checkpoint to resume from."""
        return step == self.steps or step % self.checkpoint_every == 0
