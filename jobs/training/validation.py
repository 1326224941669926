"""COCO's twelve numbers of a model in training, computed by all workers together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import torch

from fcos_core.images import padded_shape
from fcos_core.metrics.coco import DetectedBoxes, canonical_order, evaluate_boxes, xyxy_to_xywh
from fcos_core.model.detector import FCOS
from fcos_core.predictor import Predictor
from fcos_core.structures import Detections
from fcos_core.training import ProcessGroup
from jobs.annotations.coco_json import CocoAnnotations, CocoImage
from jobs.annotations.true_boxes import true_boxes
from jobs.training.examples import read_image

_SCORE_THRESHOLD = 0.05  # that of ``fcos detect``


class Validation:
    """Images to evaluate on, shared by the workers; ``batch_size`` is that of one worker."""

    def __init__(
        self,
        annotations: CocoAnnotations,
        images: str,
        *,
        precision: str,
        batch_size: int,
        device: torch.device,
        group: ProcessGroup,
    ) -> None:
        self._annotations = annotations
        self._images = images
        self._precision = precision
        self._batch_size = batch_size
        self._device = device
        self._group = group

    def evaluate(self, model: FCOS) -> dict[str, float]:
        """Score a model in evaluation mode; every worker must call this, and gets the numbers."""
        predictor = Predictor(
            model,
            device=self._device,
            precision=self._precision,
            batch_size=self._batch_size,
            score_threshold=_SCORE_THRESHOLD,
        )
        found = [
            _columns(described.id, detections, model)
            for batch in self._batches(model)
            for described, detections in zip(batch, predictor(self._read(batch)), strict=True)
        ]
        gathered = self._group.gather(_concatenated(found))
        numbers = self._score(_concatenated(gathered)) if self._group.is_first else {}
        return self._group.gather(numbers)[0]

    def _batches(self, model: FCOS) -> Iterator[list[CocoImage]]:
        def shape(image: CocoImage) -> tuple[int, int]:
            return padded_shape(image.height, image.width, model.config.input)

        ours = sorted(self._annotations.images, key=shape)[self._group.rank :: self._group.size]
        for _, alike in groupby(ours, key=shape):
            same = list(alike)
            for start in range(0, len(same), self._batch_size):
                yield same[start : start + self._batch_size]

    def _read(self, batch: list[CocoImage]) -> list[np.ndarray]:
        return [read_image(self._annotations, image, self._images)[0] for image in batch]

    def _score(self, found: DetectedBoxes) -> dict[str, float]:
        ranked = found.take(canonical_order(found))
        ids = [category.id for category in self._annotations.categories]
        return evaluate_boxes(true_boxes(self._annotations), ranked, category_ids=ids).overall


def _columns(image_id: int, found: Detections, model: FCOS) -> DetectedBoxes:
    ids = np.array([category.id for category in model.categories], np.int64)
    return DetectedBoxes(
        image_ids=np.full(len(found), image_id, np.int64),
        category_ids=ids[found.labels.numpy()],
        boxes=xyxy_to_xywh(found.boxes.double().numpy()),
        scores=found.scores.double().numpy(),
    )


def _concatenated(parts: list[DetectedBoxes]) -> DetectedBoxes:
    return DetectedBoxes(
        np.concatenate([np.empty(0, np.int64), *(p.image_ids for p in parts)]),
        np.concatenate([np.empty(0, np.int64), *(p.category_ids for p in parts)]),
        np.concatenate([np.empty((0, 4)), *(p.boxes for p in parts)]),
        np.concatenate([np.empty(0), *(p.scores for p in parts)]),
    )
