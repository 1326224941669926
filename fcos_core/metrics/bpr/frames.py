"""From annotated boxes to boxes in the network's padded input.

Letters: ``I`` images, ``G`` ground-truth boxes of all of them.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from fcos_core.metrics.bpr.rules import FrameRule


@dataclass(frozen=True)
class Frames:
    """Height and width, in pixels, of many images after resizing and of the padded inputs."""

    resized: Int64[np.ndarray, "I 2"]
    padded: Int64[np.ndarray, "I 2"]


def frames_of(image_sizes: Int64[np.ndarray, "I 2"], rule: FrameRule) -> Frames:
    """Resize and pad images of these heights and widths, at least 1 px."""
    resize = _resize_short_side if rule.resize == "short_side" else _resize_floor
    resized = np.maximum(resize(image_sizes, rule), 1)
    return Frames(resized, -(-resized // rule.size_divisor) * rule.size_divisor)


def boxes_in_frame(
    boxes: Float[np.ndarray, "G 4"],
    image_index: Int64[np.ndarray, " G"],
    image_sizes: Int64[np.ndarray, "I 2"],
    rule: FrameRule,
) -> Float[np.ndarray, "G 4"]:
    """Corners (xyxy) in pixels of the padded input, in the rule's precision.

    ``boxes`` are COCO's x, y, width, height in pixels of the image.
    """
    dtype = np.dtype(rule.precision)
    resized = frames_of(image_sizes, rule).resized
    scale_yx = resized.astype(dtype) / image_sizes.astype(dtype)
    scale = scale_yx[image_index][:, [1, 0, 1, 0]]
    corners = boxes.astype(dtype)
    extent = corners[:, 2:]
    if rule.boxes == "legacy":
        extent = np.maximum(extent - dtype.type(1), dtype.type(0))
    corners[:, 2:] = corners[:, :2] + extent
    return corners * scale


def _resize_short_side(
    image_sizes: Int64[np.ndarray, "I 2"], rule: FrameRule
) -> Int64[np.ndarray, "I 2"]:
    """As maskrcnn-benchmark's ``data/transforms/transforms.py``: int() of the longer side."""
    shorter = image_sizes.min(axis=1)
    longer = image_sizes.max(axis=1)
    size = np.full(len(image_sizes), rule.min_size_px, np.int64)
    is_capped = longer / shorter * rule.min_size_px > rule.max_size_px
    capped = np.rint(rule.max_size_px * shorter.astype(np.float64) / longer).astype(np.int64)
    size[is_capped] = capped[is_capped]
    other = (size * longer / shorter).astype(np.int64)
    is_portrait = image_sizes[:, 0] > image_sizes[:, 1]
    return np.where(
        is_portrait[:, None],
        np.stack([other, size], axis=1),
        np.stack([size, other], axis=1),
    )


def _resize_floor(
    image_sizes: Int64[np.ndarray, "I 2"], rule: FrameRule
) -> Int64[np.ndarray, "I 2"]:
    """As torch's ``interpolate`` with a scale factor; ``fcos_core.images.resized_shape``."""
    factor = np.minimum(
        rule.min_size_px / image_sizes.min(axis=1), rule.max_size_px / image_sizes.max(axis=1)
    )
    return np.floor(image_sizes * factor[:, None]).astype(np.int64)
