"""Decoding on the CPU, for a whole batch: few pairs are scored, few boxes are computed.

A pair is a location and a class; an image's pairs are numbered location by location. Where scores
are equal, the pair with the smaller number comes first, in a level's top-k and in NMS.
Letters: ``B`` images, ``L`` locations, ``N`` pairs of all images.
"""

# torch leaves the type of numpy() and from_numpy() partly unknown.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from fcos_core.boxes import clip_boxes, ltrb_to_boxes
from fcos_core.config import DecodingConfig
from fcos_core.decoding.scoring import (
    REJECTED,
    all_scores,
    least_logit,
    pair_scores,
    with_margin,
)
from fcos_core.decoding.structures import Candidates, DecodedBatch, class_plane_sizes
from fcos_core.locations import LocationGrid
from fcos_core.structures import HeadOutputs
from fcos_core.torchvision_imports import nms

Indices = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

# NMS first looks at so many candidates per detection that is wanted: they are mostly enough.
_FIRST_PER_DETECTION = 4


def decode_exact(
    outputs: HeadOutputs,
    grid: LocationGrid,
    config: DecodingConfig,
    *,
    sizes: Float[Tensor, "B 2"],
    unit_px: Float[Tensor, " L"],
) -> DecodedBatch:
    """Decode on the CPU; see :func:`fcos_core.decoding.decode`."""
    found = find_candidates(outputs, grid, config, sizes=sizes, unit_px=unit_px)
    return suppress(found, config, sizes=sizes)


def find_candidates(
    outputs: HeadOutputs,
    grid: LocationGrid,
    config: DecodingConfig,
    *,
    sizes: Float[Tensor, "B 2"],
    unit_px: Float[Tensor, " L"],
) -> Candidates:
    """Threshold and take the best pairs of each level, for all images at once."""
    num_images, num_locations, num_classes = outputs.cls_logits.shape
    levels = _Levels(num_images, grid.num_per_level)
    locations = _passing_locations(outputs, config, levels)
    pairs, scores = _passing_pairs(outputs, config, locations)
    is_best = levels.best(pairs // num_classes, scores, config.top_k_per_level)
    pairs, scores = pairs[is_best], scores[is_best]
    image, pair = np.divmod(pairs, num_locations * num_classes)
    at, image_at = torch.from_numpy(pairs // num_classes), torch.from_numpy(image)
    location, label = (torch.from_numpy(part) for part in np.divmod(pair, num_classes))
    distances = outputs.distances.reshape(-1, 4)[at].float() * unit_px[location][:, None]
    boxes = ltrb_to_boxes(grid.points[location], distances)
    limits = sizes.float()[image_at]
    return Candidates(
        boxes=clip_boxes(boxes, limits[:, 1], limits[:, 0]),
        scores=torch.from_numpy(scores),
        labels=label,
        counts=tuple(np.bincount(image, minlength=num_images).tolist()),
    )


def suppress(
    found: Candidates, config: DecodingConfig, *, sizes: Float[Tensor, "B 2"]
) -> DecodedBatch:
    """Class-aware non-maximum suppression, best first, at most ``max_detections`` per image.

    Args:
        found: candidates, whose boxes lie in their images.
        config: limits.
        sizes: height and width of each image inside its padding.
    """
    scores = found.scores.numpy()
    # The boxes of each class are moved apart, so that one call serves all classes. In float64 the
    # move is exact for float32 coordinates; float32 would round to 1/128 px from class 64 on.
    of_image = torch.repeat_interleave(torch.tensor(found.counts, dtype=torch.int64))
    plane_sizes = class_plane_sizes(sizes)[of_image]
    boxes = (found.boxes.double() + (found.labels * plane_sizes)[:, None]).numpy()
    kept: list[Indices] = []
    start = 0
    for count in found.counts:
        part = slice(start, start + count)
        kept.append(start + _keep(boxes[part], scores[part], config))
        start += count
    return _detections(found, kept)


@dataclass(frozen=True)
class _Levels:
    """The levels of all images, as parts of the locations of all images in a row."""

    num_images: int
    num_per_level: tuple[int, ...]

    def parts(self, locations: Indices) -> Iterator[tuple[int, int]]:
        """Where the levels lie among sorted locations, image by image, P3 first."""
        starts = np.cumsum([0, *(self.num_per_level * self.num_images)])
        bounds = np.searchsorted(locations, starts).tolist()
        return pairwise(bounds)

    def best(self, locations: Indices, scores: Scores, top_k: int) -> Indices:
        """The places of each level's best scores, rising; of equal scores the first is better."""
        places = [np.zeros(0, np.int64)]
        for start, end in self.parts(locations):
            of_level: Indices = np.arange(start, end, dtype=np.int64)
            if len(of_level) > top_k:
                level = scores[start:end]
                least = _largest(level, top_k)
                is_best = level > least
                equal = np.flatnonzero(level == least)[: top_k - np.count_nonzero(is_best)]
                is_best[equal] = True
                of_level = of_level[is_best]
            places.append(of_level)
        return np.concatenate(places)


def _largest(values: Scores, rank: int) -> np.float32:
    """The value of a rank, counted from 1 for the largest."""
    return np.partition(values, len(values) - rank)[len(values) - rank]


def _passing_locations(outputs: HeadOutputs, config: DecodingConfig, levels: _Levels) -> Indices:
    """The locations, of all images in a row, that can have a pair among their level's best.

    A location's best pair is that of its largest logit, but for rounding. So if more than
    ``top_k_per_level`` locations of a level pass, the level's best score at least what so many of
    these reach.
    """
    best_logits = outputs.cls_logits.amax(dim=-1)
    scores, compared = all_scores(best_logits, outputs.centerness_logits, config)
    best, threshold = compared.numpy().reshape(-1), config.score_threshold
    locations: Indices = np.flatnonzero(best > with_margin(threshold))
    best, scores = best[locations], scores.numpy().reshape(-1)[locations]
    kept: list[Indices] = [locations[:0]]
    for start, end in levels.parts(locations):
        of_level, level = locations[start:end], scores[start:end]
        passing: Scores = level[best[start:end] > threshold]
        if len(passing) > config.top_k_per_level:
            least = with_margin(_largest(passing, config.top_k_per_level))
            of_level = of_level[level >= least]
        kept.append(of_level)
    return np.concatenate(kept)


def _passing_pairs(
    outputs: HeadOutputs, config: DecodingConfig, locations: Indices
) -> tuple[Indices, Scores]:
    """The pairs of these locations that pass the threshold, rising, and their scores."""
    num_classes = outputs.cls_logits.shape[-1]
    at = torch.from_numpy(locations)
    logits = outputs.cls_logits.reshape(-1, num_classes)[at]
    hits = np.flatnonzero((logits >= least_logit(config)).numpy())
    row, label = np.divmod(hits, num_classes)
    pairs_of_rows = locations * num_classes
    scores = pair_scores(
        logits.reshape(-1)[torch.from_numpy(hits)],
        outputs.centerness_logits.reshape(-1)[at[torch.from_numpy(row)]],
        config,
    ).numpy()
    passed = np.flatnonzero(scores != REJECTED)
    return (pairs_of_rows[row] + label)[passed], scores[passed]


def _keep(moved: npt.NDArray[np.float64], scores: Scores, config: DecodingConfig) -> Indices:
    """The places of an image's detections, best first; boxes of different classes are apart."""
    order = np.argsort(-scores, kind="stable")
    # What is kept among the first candidates does not depend on the others.
    first = order[: _FIRST_PER_DETECTION * config.max_detections]
    kept = first[_nms(moved[first], config)]
    if len(kept) < config.max_detections and len(first) < len(order):
        kept = order[_nms(moved[order], config)]
    return kept


def _nms(ranked: npt.NDArray[np.float64], config: DecodingConfig) -> Indices:
    rank_scores = torch.arange(len(ranked), 0, -1, dtype=torch.float64)
    return nms(torch.from_numpy(ranked), rank_scores, config.nms_iou)[
        : config.max_detections
    ].numpy()


def _detections(found: Candidates, kept: list[Indices]) -> DecodedBatch:
    num_images = len(kept)
    counts = [len(of_image) for of_image in kept]
    width = max(counts, default=0)
    index = torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *kept]))
    ranks = [image * width + np.arange(count) for image, count in enumerate(counts)]
    places = torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *ranks]))
    boxes = found.boxes.new_zeros((num_images * width, 4))
    scores = found.scores.new_zeros(num_images * width)
    labels = found.labels.new_zeros(num_images * width)
    boxes[places] = found.boxes[index]
    scores[places] = found.scores[index]
    labels[places] = found.labels[index]
    shape = (num_images, width)
    return DecodedBatch(
        boxes.view(*shape, 4),
        scores.view(shape),
        labels.view(shape),
        torch.tensor(counts, dtype=torch.int64),
        torch.ones(num_images, dtype=torch.bool),
    )
