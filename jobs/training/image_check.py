"""A check of all images before the first step: the seed may draw a broken one at any later step.

Each is read and decoded as in the training, by as many threads as there are cores.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fcos_core.errors import DataError
from jobs.annotations.coco_json import CocoAnnotations, CocoImage
from jobs.inputs.coco import spelling_hint
from jobs.parallel.cores import num_cores
from jobs.settings.train import TrainConfig
from jobs.storage import MissingError, UnreadableError, absolute
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
    checked = _check(data.annotations, config.images)
    checked_val = _Checked()
    if data.val_annotations is not None:
        checked_val = _check(data.val_annotations, config.val_images or config.images)
    bad, bad_val = checked.bad, checked_val.bad
    num_checked = checked.num_images + checked_val.num_images
    _log.info("checked %d images in %.1f s", num_checked, time.monotonic() - started)
    reasons = [*bad.values(), *bad_val.values()]
    if not reasons:
        return LeftOut()
    found = f"{len(reasons)} of {num_checked} images cannot be used: {_first(reasons)}"
    found = "; ".join([found, *filter(None, (checked.hint, checked_val.hint))])
    if not config.skip_invalid:
        raise DataError(f"{found}; skip_invalid: true in the config file leaves them out")
    if len(bad) == checked.num_images:
        raise DataError(found)
    _log.warning("%s; they are left out", found)
    return LeftOut(train=tuple(bad), val=tuple(bad_val))


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """The reason for each image that cannot be used, by its id, and the number of all.

    ``hint`` says which other spelling of their names would find files that are missing.
    """

    bad: dict[int, str] = field(default_factory=dict[int, str])
    num_images: int = 0
    hint: str | None = None


@dataclass(frozen=True)
class _Fault:
    reason: str
    is_missing: bool


def _check(annotations: CocoAnnotations, folder: str) -> _Checked:
    images = annotations.images
    num_done = 0
    bad: dict[int, str] = {}
    missing: list[str] = []
    with waiting(lambda: f"checking the images in {folder!r}: {num_done} of {len(images)} so far"):
        for image, fault in zip(images, _faults(annotations, images, folder), strict=True):
            num_done += 1
            if fault is not None:
                bad[image.id] = fault.reason
                missing.extend([image.file_name] if fault.is_missing else [])
    hint = spelling_hint(missing, [absolute(folder)])
    return _Checked(bad=bad, num_images=len(images), hint=hint)


def _faults(
    annotations: CocoAnnotations, images: Sequence[CocoImage], folder: str
) -> Iterator[_Fault | None]:
    def check(image: CocoImage) -> _Fault | None:
        try:
            read_image(annotations, image, folder)
        except (DataError, UnreadableError) as error:
            return _Fault(str(error), isinstance(error, MissingError))
        return None

    pool = ThreadPoolExecutor(num_cores(), thread_name_prefix="check")
    try:
        yield from pool.map(check, images)
    finally:
        pool.shutdown(cancel_futures=True)


def _first(reasons: Sequence[str]) -> str:
    more = len(reasons) - _SHOWN
    return "; ".join([*reasons[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])
