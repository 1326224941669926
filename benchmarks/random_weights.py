"""Random weights for torchvision's ``fcos_resnet50_fpn`` that make it work like a trained one.

An untrained ResNet is of no use to a benchmark: nothing passes the threshold, or everything does,
and its activations grow until rounding decides what is found. So batch-norm statistics are measured
on photos, residual branches are damped, the outputs are scaled to a trained head's spread, and the
class bias is chosen to let a given number of detections through.
"""

# torch leaves some types unknown, and torchvision's losses and detections share one type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import torch
from torch import Tensor, nn
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.image_list import ImageList

NUM_PHOTOS = 4  # to measure on
SIDE_PX = 640  # of these, squeezed into squares, so that padding takes no part in the statistics
NUM_CLASSES = 91
RESIDUAL_GAIN = 0.2
LOGIT_SPREAD = 1.3
DISTANCE_SPREAD = 1.0
MEAN_DISTANCE = 3.0  # in strides, after the ReLU: boxes of six cells
BIAS_RANGE = (-14.0, 2.0)
BISECTIONS = 10


@torch.no_grad()
def make_state_dict(
    photos: Sequence[Tensor], *, detections: float, score_threshold: float, seed: int
) -> dict[str, Tensor]:
    """Make a state dict of 319 tensors.

    Args:
        photos: RGB, 3 x height x width, 0 to 1; all of one shape.
        detections: about so many per photo.
        score_threshold: they lie above.
        seed: of the random numbers.
    """
    torch.manual_seed(seed)
    model = fcos_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=NUM_CLASSES, score_thresh=score_threshold
    ).eval()
    batch, _ = model.transform(list(photos))
    _measure_batch_norm(model, batch.tensors)
    features = list(model.backbone(batch.tensors).values())
    outputs = model.head(features)
    classes = model.head.classification_head.cls_logits
    distances = model.head.regression_head.bbox_reg
    classes.weight.mul_(LOGIT_SPREAD / (outputs["cls_logits"] - classes.bias).std())
    distances.weight.mul_(DISTANCE_SPREAD / outputs["bbox_regression"].std())
    distances.bias.fill_(MEAN_DISTANCE)
    outputs = model.head(features)
    logits = outputs["cls_logits"] - classes.bias

    def mean_detections(bias: float) -> float:
        found = _postprocess(model, {**outputs, "cls_logits": logits + bias}, batch, features)
        return sum(len(one["scores"]) for one in found) / len(photos)

    classes.bias.fill_(_bisect(mean_detections, detections))
    state = model.state_dict()
    return {name: value for name, value in state.items() if "num_batches_tracked" not in name}


def _measure_batch_norm(model: FCOS, images: Tensor) -> None:
    """Set every batch norm's mean and variance to what it sees on these images."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for name, module in model.named_modules():
        if name.endswith("bn3"):  # the last of a residual branch
            nn.init.constant_(module.weight, RESIDUAL_GAIN)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the statistics of one batch, not a moving average
        norm.train()
    model.backbone(images)
    for norm in norms:
        norm.eval()


def _postprocess(
    model: FCOS, outputs: Mapping[str, Tensor], batch: ImageList, features: list[Tensor]
) -> list[dict[str, Tensor]]:
    """Raw outputs to detections, as the model's own ``forward`` does it."""
    sizes = [feature.shape[-2] * feature.shape[-1] for feature in features]
    anchors = model.anchor_generator(batch, features)
    return model.postprocess_detections(
        {name: list(output.split(sizes, dim=1)) for name, output in outputs.items()},
        [list(per_image.split(sizes)) for per_image in anchors],
        batch.image_sizes,
    )


def _bisect(rising: Callable[[float], float], target: float) -> float:
    low, high = BIAS_RANGE
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if rising(middle) < target:
            low = middle
        else:
            high = middle
    return high


def main() -> None:
    options = _options()
    paths = sorted(path for path in options.images.iterdir() if path.is_file())[:NUM_PHOTOS]
    photos: list[Tensor] = []
    for path in paths:
        pixels = cv2.imread(str(path))
        if pixels is None:
            raise SystemExit(f"{path.name}: OpenCV cannot read it")
        pixels = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), (SIDE_PX, SIDE_PX))
        photos.append(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)
    state = make_state_dict(
        photos,
        detections=options.detections,
        score_threshold=options.score_threshold,
        seed=options.seed,
    )
    torch.save(state, options.out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help="folder of photos and nothing else")
    parser.add_argument("out", type=Path, help="state dict, as torch.save writes it")
    parser.add_argument("--detections", type=float, default=40, help="per photo, about")
    parser.add_argument("--score-threshold", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
