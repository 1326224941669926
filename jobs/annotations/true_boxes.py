"""Annotations as the ground truth of an evaluation; apart, since reading them needs no metrics."""

from fcos_core.metrics.coco import TrueBoxes
from jobs.annotations.coco_json import CocoAnnotations


def true_boxes(annotations: CocoAnnotations) -> TrueBoxes:
    """Return all annotated boxes, crowd regions among them, in the file's order."""
    return TrueBoxes(
        image_ids=annotations.box_image_ids,
        category_ids=annotations.box_category_ids,
        boxes=annotations.boxes,
        areas=annotations.areas,
        is_crowd=annotations.is_crowd,
    )
