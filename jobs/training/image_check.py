"""A check of all images before the first step: the seed may draw a broken one at any later step.

Each is read and decoded as in the training, by as many threads as there are cores.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from fcos_core.errors import DataError
from jobs.annotations.coco_json import CocoAnnotations, CocoImage
from jobs.parallel.cores import num_cores
from jobs.settings.train import TrainConfig
from jobs.storage import UnreadableError
from jobs.training.data import LeftOut, TrainingData
from jobs.training.examples import read_image
from jobs.waiting import waiting

_log = logging.getLogger(__name__)

_SHOWN = 3


def check_images(config: TrainConfig, data: TrainingData) -> LeftOut:
    """Decode every image to train and to evaluate on, and compare its size with its entry.

    Returns:
        The images that ``skip_invalid`` leaves out.

    Raises:
        DataError: images cannot be used and ``skip_invalid`` is not set, or none is left; the
            message has the first ones.
        StorageError: the storage fails.
    """
    started = time.monotonic()
    bad, num_images = _find_bad(data.annotations, config.images)
    bad_val, num_val_images = {}, 0
    if data.val_annotations is not None:
        folder = config.val_images or config.images
        bad_val, num_val_images = _find_bad(data.val_annotations, folder)
    num_checked = num_images + num_val_images
    _log.info("checked %d images in %.1f s", num_checked, time.monotonic() - started)
    reasons = [*bad.values(), *bad_val.values()]
    if not reasons:
        return LeftOut()
    found = f"{len(reasons)} of {num_checked} images cannot be used: {_first(reasons)}"
    if not config.skip_invalid:
        raise DataError(f"{found}; skip_invalid: true in the config file leaves them out")
    if len(bad) == num_images:
        raise DataError(found)
    _log.warning("%s; they are left out", found)
    return LeftOut(train=tuple(bad), val=tuple(bad_val))


def _find_bad(annotations: CocoAnnotations, folder: str) -> tuple[dict[int, str], int]:
    """Give the reason for each image that cannot be used, by its id, and the number of all."""
    images = annotations.images
    num_done = 0
    bad: dict[int, str] = {}
    with waiting(lambda: f"checking the images in {folder!r}: {num_done} of {len(images)} so far"):
        for image, reason in zip(images, _reasons(annotations, images, folder), strict=True):
            num_done += 1
            if reason is not None:
                bad[image.id] = reason
    return bad, len(images)


def _reasons(
    annotations: CocoAnnotations, images: Sequence[CocoImage], folder: str
) -> Iterator[str | None]:
    def check(image: CocoImage) -> str | None:
        try:
            read_image(annotations, image, folder)
        except (DataError, UnreadableError) as error:
            return str(error)
        return None

    pool = ThreadPoolExecutor(num_cores(), thread_name_prefix="check")
    try:
        yield from pool.map(check, images)
    finally:
        pool.shutdown(cancel_futures=True)


def _first(reasons: Sequence[str]) -> str:
    more = len(reasons) - _SHOWN
    return "; ".join([*reasons[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])
