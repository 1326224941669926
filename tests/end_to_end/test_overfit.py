"""Eight photos can be learnt by heart, from random weights, on two cores."""

import json
from pathlib import Path

import pytest

from jobs.train import TrainConfig, run

pytestmark = pytest.mark.slow

PHOTOS = (
    "000000060623.jpg",
    "000000086408.jpg",
    "000000222564.jpg",
    "000000224736.jpg",
    "000000328757.jpg",
    "000000384553.jpg",
    "000000391895.jpg",
    "000000522418.jpg",
)
LEAST_SIDE_PX = 32


def with_large_boxes_only(annotations: Path, out: Path) -> Path:
    """The annotations of the eight photos, without crowds and without what is hardly visible."""
    document = json.loads(annotations.read_text())
    images = [image for image in document["images"] if image["file_name"] in PHOTOS]
    assert len(images) == len(PHOTOS)
    chosen = {image["id"] for image in images}
    boxes = [
        box
        for box in document["annotations"]
        if box["image_id"] in chosen
        and not box["iscrowd"]
        and min(box["bbox"][2:]) >= LEAST_SIDE_PX
    ]
    used = {box["category_id"] for box in boxes}
    categories = [c for c in document["categories"] if c["id"] in used]
    out.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return out


def test_eight_photos_are_learnt_by_heart(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "coco_tiny"
    annotations = with_large_boxes_only(
        source / "annotations" / "instances_train2017.json", tmp_path / "large.json"
    )
    result = run(
        TrainConfig(
            images=str(source / "train2017"),
            annotations=str(annotations),
            val_annotations=str(annotations),
            out=str(tmp_path / "out"),
            backbone="resnet18",
            backbone_width=0.25,
            fpn_channels=64,
            head_convs=2,
            head_groups=16,
            min_size=512,
            max_size=512,
            flip=False,
            steps=600,
            batch_size=4,
            learning_rate=2e-3,
            warmup_steps=50,
            weight_decay=0.0,
            average_decay=0.99,
            evaluate_every=200,
            threads=2,
        )
    )
    assert result.evaluation is not None
    assert result.evaluation["AP"] >= 0.8, result.evaluation
    assert result.evaluation["AP50"] >= 0.95, result.evaluation
    assert result.seconds < 1800
