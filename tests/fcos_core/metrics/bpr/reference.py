"""Best possible recall as slow, dense loops, from the words of the paper and of the sources.

One image at a time, every location or anchor against every box. Nothing here is shared with the
code under test except the rules' numbers.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fcos_core.metrics.bpr import AnchorRule, Cause


@dataclass
class DenseImage:
    """What a rule makes of one image; ``V`` levels."""

    causes: list[int]
    num_candidates: np.ndarray  # G x V
    num_kept: np.ndarray  # G x V
    num_ambiguous: np.ndarray  # V
    num_cross_class: np.ndarray  # V
    takers: dict[int, dict[int, int]]  # of each shadowed box: who took how many of its candidates


def resized_size(height, width, frame):
    """Height and width after resizing, in plain Python numbers as in the two sources."""
    if frame.resize == "floor":  # torchvision: one factor, both sides rounded down
        factor = min(frame.min_size_px / min(height, width), frame.max_size_px / max(height, width))
        return max(1, math.floor(height * factor)), max(1, math.floor(width * factor))
    # maskrcnn-benchmark, get_size().
    size = frame.min_size_px
    shorter, longer = float(min(width, height)), float(max(width, height))
    if longer / shorter * size > frame.max_size_px:
        size = round(frame.max_size_px * shorter / longer)
    size = max(size, 0)
    if width < height:
        return max(1, int(size * height / width)), max(1, size)
    return max(1, size), max(1, int(size * width / height))


def corners_in_input(boxes, size, frame):
    """x1, y1, x2, y2 in the resized image."""
    dtype = np.dtype(frame.precision).type
    height, width = size
    new_height, new_width = resized_size(height, width, frame)
    ratio_x, ratio_y = dtype(new_width) / dtype(width), dtype(new_height) / dtype(height)
    corners = []
    for box in boxes:
        x, y, w, h = (dtype(value) for value in box)
        if frame.boxes == "legacy":  # TO_REMOVE = 1
            x2, y2 = x + max(w - dtype(1), dtype(0)), y + max(h - dtype(1), dtype(0))
        else:
            x2, y2 = x + w, y + h
        corners.append((x * ratio_x, y * ratio_y, x2 * ratio_x, y2 * ratio_y))
    return np.array(corners, dtype=dtype).reshape(-1, 4)


def padded_size(size, frame):
    divisor = frame.size_divisor
    return tuple(math.ceil(side / divisor) * divisor for side in resized_size(*size, frame))


def dense_locations(boxes, labels, size, rule):  # noqa: C901 (the paper's words, in one piece)
    """Every location against every box, in the paper's words."""
    encoding = rule.encoding
    corners = corners_in_input(boxes, size, rule.frame)
    dtype = corners.dtype.type
    num_boxes, num_levels = len(corners), len(encoding.strides)
    candidates = np.zeros((num_boxes, num_levels), int)
    kept = np.zeros((num_boxes, num_levels), int)
    ambiguous, cross_class = np.zeros(num_levels, int), np.zeros(num_levels, int)
    takers = {box: {} for box in range(num_boxes)}
    has_inside, has_in_range = [False] * num_boxes, [False] * num_boxes
    areas = [compared_area(box, encoding) for box in corners]
    padded = padded_size(size, rule.frame)
    for level, (stride, (low, high)) in enumerate(
        zip(encoding.strides, encoding.size_ranges, strict=True)
    ):
        x, y = level_locations(padded, stride, encoding, dtype)
        is_candidate = np.zeros((num_boxes, len(x)), bool)
        for box, (x1, y1, x2, y2) in enumerate(corners):
            left, top, right, bottom = x - x1, y - y1, x2 - x, y2 - y
            inside = np.minimum(np.minimum(left, top), np.minimum(right, bottom)) > 0
            longest = np.maximum(np.maximum(left, top), np.maximum(right, bottom))
            if encoding.range_ends == "closed":
                in_range = inside & (longest >= low) & (longest <= high)
            else:
                in_range = inside & (longest > low) & (longest < high)
            has_inside[box] |= bool(inside.any())
            has_in_range[box] |= bool(in_range.any())
            if encoding.center_radius is not None:
                radius = dtype(encoding.center_radius) * dtype(stride)
                center_x, center_y = (x1 + x2) / 2, (y1 + y2) / 2
                off_center = np.maximum(abs(x - center_x), abs(y - center_y))
                in_range &= off_center < radius
            if areas[box] is not None:
                is_candidate[box] = in_range
        candidates[:, level] = is_candidate.sum(axis=1)
        for location in np.flatnonzero(is_candidate.any(axis=0)):
            able = np.flatnonzero(is_candidate[:, location]).tolist()
            winner = min(able, key=lambda box: (areas[box], box))
            kept[winner, level] += 1
            ambiguous[level] += len(able) > 1
            cross_class[level] += len({labels[box] for box in able}) > 1
            for box in able:
                if box != winner:
                    takers[box][winner] = takers[box].get(winner, 0) + 1
    causes = []
    for box in range(num_boxes):
        if kept[box].any():
            causes.append(Cause.RECALLED)
        elif candidates[box].any():
            causes.append(Cause.SHADOWED)
        elif not has_inside[box]:
            causes.append(Cause.NO_LOCATION)
        elif has_in_range[box] and encoding.center_radius is not None and areas[box] is not None:
            causes.append(Cause.CENTER_EMPTY)
        else:
            causes.append(Cause.OUT_OF_RANGE)
    takers = {box: takers[box] for box in range(num_boxes) if causes[box] == Cause.SHADOWED}
    return DenseImage(causes, candidates, kept, ambiguous, cross_class, takers)


def level_locations(padded, stride, encoding, dtype):
    rows, columns = (math.ceil(side / stride) for side in padded)
    step_y, step_x = stride, stride
    if encoding.location_step == "grid":
        step_y, step_x = padded[0] // rows, padded[1] // columns
    offset = stride // 2 if encoding.location_offset == "half_stride" else 0
    x = [column * step_x + offset for _ in range(rows) for column in range(columns)]
    y = [row * step_y + offset for row in range(rows) for _ in range(columns)]
    return np.array(x, dtype), np.array(y, dtype)


def compared_area(corners, encoding):
    """What the smallest of is taken; None where torchvision's matcher gives the box nothing."""
    x1, y1, x2, y2 = corners
    if encoding.area_rule == "inclusive":
        return (x2 - x1 + 1) * (y2 - y1 + 1)
    if encoding.area_rule == "plain":
        return (x2 - x1) * (y2 - y1)
    goodness = np.float32(1e8) - np.float32((x2 - x1) * (y2 - y1))
    return None if goodness < 1e-5 else -goodness


def dense_anchors(boxes, size, rule: AnchorRule):
    """Every anchor against every box, as maskrcnn-benchmark's Matcher does."""
    corners = corners_in_input(boxes, size, rule.frame)
    padded = padded_size(size, rule.frame)
    anchors, levels = all_anchors(padded, rule)
    num_boxes, num_levels = len(corners), len(rule.strides)
    candidates = np.zeros((num_boxes, num_levels), int)
    kept = np.zeros((num_boxes, num_levels), int)
    nothing = np.zeros(num_levels, int)
    if not num_boxes:
        return DenseImage([], candidates, kept, nothing, nothing, {})
    quality = legacy_iou(corners, anchors)
    own_best = quality.argmax(axis=0)
    matched = np.where(quality.max(axis=0) >= rule.positive_iou, own_best, -1)
    eligible = quality >= rule.positive_iou
    if rule.low_quality_iou is not None:
        for box in range(num_boxes):
            highest = quality[box].max()
            if highest > 0 and highest >= rule.low_quality_iou:
                restored = quality[box] == highest
                matched[restored] = own_best[restored]
                eligible[box] |= restored
    takers = {}
    for box in range(num_boxes):
        for level in range(num_levels):
            candidates[box, level] = (eligible[box] & (levels == level)).sum()
            kept[box, level] = ((matched == box) & (levels == level)).sum()
    causes = []
    for box in range(num_boxes):
        if kept[box].any():
            causes.append(Cause.RECALLED)
        elif candidates[box].any():
            causes.append(Cause.SHADOWED)
            who, times = np.unique(matched[eligible[box]], return_counts=True)
            takers[box] = dict(zip(who.tolist(), times.tolist(), strict=True))
        else:
            causes.append(Cause.LOW_IOU)
    return DenseImage(causes, candidates, kept, nothing, nothing, takers)


@lru_cache(maxsize=8)
def all_anchors(padded, rule):
    """xyxy of every anchor and its level; anchors that cross the border are kept."""
    anchors, levels = [], []
    for level, (stride, size) in enumerate(zip(rule.strides, rule.sizes_px, strict=True)):
        rows, columns = (math.ceil(side / stride) for side in padded)
        base = [0, 0, stride - 1, stride - 1]
        middle_x, middle_y = (base[0] + base[2]) / 2, (base[1] + base[3]) / 2
        for ratio in rule.ratios:
            width = round(math.sqrt(stride * stride / ratio))
            height = round(width * ratio)
            for k in range(rule.scales_per_octave):
                scale = size * 2 ** (k / rule.scales_per_octave) / stride
                half_w, half_h = (width * scale - 1) / 2, (height * scale - 1) / 2
                for row in range(rows):
                    for column in range(columns):
                        dx, dy = column * stride, row * stride
                        anchors.append(
                            (
                                middle_x - half_w + dx,
                                middle_y - half_h + dy,
                                middle_x + half_w + dx,
                                middle_y + half_h + dy,
                            )
                        )
                        levels.append(level)
    return np.array(anchors), np.array(levels)


def legacy_iou(boxes, anchors):
    """Intersection over union of boxes whose last pixel belongs to them."""
    width = np.minimum(boxes[:, None, 2], anchors[:, 2]) - np.maximum(
        boxes[:, None, 0], anchors[:, 0]
    )
    height = np.minimum(boxes[:, None, 3], anchors[:, 3]) - np.maximum(
        boxes[:, None, 1], anchors[:, 1]
    )
    shared = np.maximum(width + 1, 0) * np.maximum(height + 1, 0)
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    own = (anchors[:, 2] - anchors[:, 0] + 1) * (anchors[:, 3] - anchors[:, 1] + 1)
    return shared / (areas[:, None] + own - shared)
