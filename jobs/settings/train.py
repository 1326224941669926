"""What a user asks of ``fcos train``: checked when it is built, before any work."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fcos_core.config import BackboneName, Precision, PresetName

Side = Annotated[int, Field(ge=32)]

_DECIDES_NOTHING = {
    "out",
    "num_workers",
    "address",
    "device",
    "threads",
    "loader_threads",
    "checkpoint_every",
    "tensorboard",
}


class TrainConfig(BaseModel):
    """What to learn from, which model, and how.

    The defaults train a ResNet-50 as the paper's improved version. Sizes are in pixels.

    Attributes:
        images: folder of the images.
        annotations: COCO annotation file.
        out: folder for the results: new, empty, or of the same training begun before.
        val_images: folder of the images to evaluate on; by default ``images``.
        val_annotations: COCO annotation file to evaluate on; None evaluates nothing.
        evaluate_every: steps between evaluations; None evaluates at the end only.
        weights: what to start from: ``coco``, ``demo``, a path or a uri of a model of the same
            shape; where its classes are others, the class predictor starts anew.
        preset: which FCOS; see ``fcos_core.config``.
        backbone: which network.
        backbone_width: multiplies the backbone's channels.
        backbone_norm: trainable ``batch`` norm, or ``frozen``.
        freeze_stages: so many stages of the backbone do not learn: 1 the stem, 2 also C2, ...
        fpn_channels: of pyramid and head.
        head_convs: convolutions per branch.
        head_groups: of the head's group norm.
        min_size: length the shorter side is resized to.
        max_size: length the longer side may not exceed.
        min_sizes: one of these is drawn for each step in place of ``min_size``, which the finished
            model uses.
        flip: mirror half of the images.
        group_by_orientation: fill a batch with upright or with lying images only.
        skip_invalid: leave boxes without area out instead of refusing the file.
        steps: optimisation steps.
        batch_size: images per step, over all workers.
        optimizer: ``adamw`` or ``sgd``.
        learning_rate: at its peak.
        weight_decay: of convolution weights.
        warmup_steps: linear rise of the learning rate from zero.
        schedule: ``cosine`` to zero, or ``step``: a tenth after 2/3 and after 8/9 of the steps.
        average_decay: of the moving average of the weights.
        max_gradient_norm: larger gradients are scaled down to it.
        precision: of the network; losses are float32.
        seed: of weights, order and augmentation.
        num_workers: processes that share each batch; ``auto`` is one per GPU, one without GPUs.
        address: of a Ray cluster; None works on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or with one worker ``cuda:1`` and such.
        threads: cores of each worker; None chooses.
        loader_threads: threads of each worker that decode images.
        checkpoint_every: steps between checkpoints.
        store: precision of the numbers in the finished checkpoint.
        tensorboard: write the curves for TensorBoard as well.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str
    annotations: str
    out: Annotated[str, Field(min_length=1)]
    val_images: str | None = None
    val_annotations: str | None = None
    evaluate_every: int | None = Field(default=None, ge=1)
    weights: str | None = None
    preset: PresetName = "improved"
    backbone: BackboneName = "resnet50"
    backbone_width: float = Field(default=1.0, gt=0, le=1)
    backbone_norm: Literal["batch", "frozen"] = "batch"
    freeze_stages: int = Field(default=0, ge=0, le=5)
    fpn_channels: int = Field(default=256, ge=1)
    head_convs: int = Field(default=4, ge=0)
    head_groups: int = Field(default=32, ge=1)
    min_size: Side = 800
    max_size: Side = 1333
    min_sizes: Annotated[tuple[Side, ...], Field(min_length=1)] | None = None
    flip: bool = True
    group_by_orientation: bool = True
    skip_invalid: bool = False
    steps: int = Field(default=90_000, ge=1)
    batch_size: int = Field(default=16, ge=1)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    warmup_steps: int = Field(default=500, ge=0)
    schedule: Literal["cosine", "step"] = "cosine"
    average_decay: float = Field(default=0.998, ge=0, lt=1)
    max_gradient_norm: float = Field(default=10.0, gt=0)
    precision: Precision = "fp32"
    seed: int = Field(default=0, ge=0)
    num_workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    address: str | None = None
    device: str = "auto"
    threads: int | None = Field(default=None, ge=1)
    loader_threads: int = Field(default=2, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    store: Literal["float32", "float16"] = "float32"
    tensorboard: bool = False

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
        """The settings that the result depends on, by more than rounding."""
        return self.model_dump(mode="json", exclude=_DECIDES_NOTHING)

    def is_evaluated_at(self, step: int) -> bool:
        """Whether the averaged weights are scored after this step."""
        if self.val_annotations is None:
            return False
        every = self.evaluate_every
        return step == self.steps or (every is not None and step % every == 0)

    def is_kept_at(self, step: int) -> bool:
        """Whether the training can be resumed from after this step."""
        return step == self.steps or step % self.checkpoint_every == 0
