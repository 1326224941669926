"""Annotated images as training examples, decoded before the step that needs them."""

# torch leaves the type of from_numpy() partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from fcos_core.config import InputConfig
from fcos_core.errors import AnnotationError
from fcos_core.images import Uint8Image
from fcos_core.structures import GroundTruth
from fcos_core.training import ProcessGroup, TrainingBatch, TrainingExample
from jobs.annotations.coco_json import CocoAnnotations, CocoImage
from jobs.inputs.coco import find_image
from jobs.media.image.decode import decode_image
from jobs.settings.train import TrainConfig
from jobs.storage import absolute, storage_for
from jobs.training.sampling import BatchPlan, plan_batches

_PREFETCHED_BATCHES = 4


class ExampleSource:
    """Batches of decoded images, prefetched by threads."""

    def __init__(self, annotations: CocoAnnotations, config: TrainConfig) -> None:
        self.annotations = annotations
        self.config = config
        self.ground_truths = ground_truths(annotations, skip_invalid=config.skip_invalid)

    def batches(
        self, input_config: InputConfig, group: ProcessGroup, *, first_step: int = 0
    ) -> Generator[TrainingBatch]:
        """Load this worker's share of the batch of every step from ``first_step`` on.

        Yields:
            One batch per step.
        """
        sizes = [(image.height, image.width) for image in self.annotations.images]
        plans = plan_batches(sizes, self.config, input_config, first_step=first_step)
        pool = ThreadPoolExecutor(self.config.loader_threads, thread_name_prefix="loader")

        def begin(plan: BatchPlan) -> tuple[BatchPlan, list[Future[TrainingExample]]]:
            members = list(zip(plan.indices, plan.is_flipped, strict=True))
            return plan, [
                pool.submit(self.load, index, is_flipped=is_flipped)
                for index, is_flipped in group.share(members)
            ]

        try:
            pending = deque(begin(plan) for plan in islice(plans, _PREFETCHED_BATCHES))
            while pending:
                plan, futures = pending.popleft()
                examples = tuple(future.result() for future in futures)
                pending.extend(begin(following) for following in islice(plans, 1))
                yield TrainingBatch(examples, plan.input(input_config), plan.padded_shape)
        finally:
            pool.shutdown(cancel_futures=True)

    def load(self, index: int, *, is_flipped: bool = False) -> TrainingExample:
        """Decode one image; if ``is_flipped``, mirror it and its boxes."""
        described = self.annotations.images[index]
        image, uri = read_image(self.annotations, described, self.config.images)
        truth = self.ground_truths[index]
        if is_flipped:
            image = np.ascontiguousarray(image[:, ::-1])
            boxes = truth.boxes.clone()
            boxes[:, [0, 2]] = image.shape[1] - truth.boxes[:, [2, 0]]
            truth = replace(truth, boxes=boxes)
        return TrainingExample(image, truth, uri)


def read_image(
    annotations: CocoAnnotations, described: CocoImage, folder: str
) -> tuple[Uint8Image, str]:
    """Decode the image of an annotation entry; return it and its uri.

    Raises:
        AnnotationError: the image has another size than its entry, whose boxes would be wrong.
    """
    uri, _ = find_image(absolute(folder), described.file_name)
    image = decode_image(storage_for(uri).read(uri), place=uri)
    height, width = image.shape[:2]
    if (height, width) != (described.height, described.width):
        raise AnnotationError(
            f"{uri}: has {width} x {height} pixels, {annotations.uri} says {described.width} x "
            f"{described.height} (image {described.id}): its boxes would be wrong"
        )
    return image, uri


def without_area(annotations: CocoAnnotations) -> npt.NDArray[np.bool_]:
    """Say of each box, shape (num_boxes,), whether its width or its height is 0."""
    return (annotations.boxes[:, 2] <= 0) | (annotations.boxes[:, 3] <= 0)


def ground_truths(annotations: CocoAnnotations, *, skip_invalid: bool) -> Sequence[GroundTruth]:
    """Boxes (xyxy) and labels of every image, without crowd regions.

    Boxes without area are left out if ``skip_invalid``, otherwise refused.

    Raises:
        AnnotationError: a box cannot be learnt.
    """
    is_used = ~annotations.is_crowd
    if skip_invalid:
        is_used &= ~without_area(annotations)
    by_image: list[list[int]] = [[] for _ in annotations.images]
    for i in np.flatnonzero(is_used).tolist():
        by_image[int(annotations.image_index[i])].append(i)
    truths: list[GroundTruth] = []
    for image, chosen in zip(annotations.images, by_image, strict=True):
        boxes = torch.from_numpy(annotations.boxes[chosen]).float().reshape(-1, 4)
        truth = GroundTruth(
            torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
            torch.from_numpy(annotations.labels[chosen]),
        )
        place = f"{annotations.uri}, image {image.id} ({image.file_name})"
        try:
            truth.check(place, len(annotations.categories))
        except AnnotationError as error:
            if (annotations.boxes[chosen, 2:] > 0).all():
                raise
            remedy = "skip_invalid: true in the config file leaves such boxes out"
            raise AnnotationError(f"{error}; {remedy}") from error
        truths.append(truth)
    return truths
