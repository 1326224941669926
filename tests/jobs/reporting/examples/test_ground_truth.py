"""True positives, false positives and missed objects of images small enough to check by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.annotations.coco_json import load_annotations
from jobs.reporting.examples.ground_truth import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    RunGroundTruth,
)
from jobs.reporting.examples.scan import scan
from jobs.rundir.rows import Row
from tests.jobs.reporting.runs import found, write_annotations, write_run

CAT, DOG = 1, 3


def matched(folder: Path, rows: list[Row], boxes: list, *, crowds: tuple[int, ...] = ()) -> list:
    run = write_run(folder / "RUN", rows)
    path = Path(write_annotations(folder / "a.json", rows, boxes))
    text = path.read_text()
    for id_ in crowds:
        text = text.replace(
            f'{{"id": {id_}, "image_id"', f'{{"iscrowd": 1, "id": {id_}, "image_id"'
        )
    path.write_text(text)
    annotations = load_annotations(str(path), names="images and frames")
    return RunGroundTruth(run, annotations, None).match(rows)


def test_an_image_with_the_largest_id_has_its_boxes(tmp_path: Path):
    rows = [
        found(i, f"/d/{name}.jpg", [(CAT, 0.9, (10, 10, 30, 30))]) for i, name in enumerate("ab")
    ]
    run = write_run(tmp_path / "RUN", rows)
    path = Path(write_annotations(tmp_path / "a.json", rows, [(2, CAT, (10, 10, 20, 20))]))
    document = json.loads(path.read_text())
    document["images"][1]["id"] = document["annotations"][0]["image_id"] = 2**63 - 1
    path.write_text(json.dumps(document))
    annotations = load_annotations(str(path), names="images and frames")
    images = RunGroundTruth(run, annotations, None).match(rows)
    assert [len(image.boxes) for image in images] == [0, 1]


def test_outcomes_of_a_worked_example(tmp_path: Path):
    row = found(
        0,
        "/d/a.jpg",
        [
            (CAT, 0.9, (10, 10, 30, 30)),  # the cat, exactly
            (CAT, 0.8, (11, 11, 31, 31)),  # the cat once more
            (DOG, 0.7, (10, 10, 30, 30)),  # there is no dog
            (2, 0.6, (40, 10, 60, 30)),  # of a class that is not annotated
            (DOG, 0.5, (70, 40, 80, 50)),  # within the crowd of dogs
        ],
    )
    boxes = [
        (1, CAT, (10, 10, 20, 20)),
        (1, CAT, (40, 40, 10, 10)),
        (1, DOG, (60, 30, 30, 30)),
    ]

    (image,) = matched(tmp_path, [row], boxes, crowds=(3,))

    assert image.outcomes.tolist() == [
        TRUE_POSITIVE,
        FALSE_POSITIVE,
        FALSE_POSITIVE,
        IGNORED,
        IGNORED,
    ]
    assert image.matched_scores == pytest.approx([0.9, -1.0])
    assert image.crowds.tolist() == [[60, 30, 90, 60]]
    assert image.counts_at(0.0) == (1, 2, 1)
    assert image.counts_at(0.75) == (1, 1, 1)
    assert image.counts_at(0.95) == (0, 0, 2)
    assert image.f1_at(0.75) == 0.5


def test_each_image_is_matched_alone_and_an_empty_image_has_f1_1(tmp_path: Path):
    rows = [
        found(0, "/d/a.jpg", [(CAT, 0.9, (10, 10, 30, 30))]),
        found(1, "/d/b.jpg", []),
        found(2, "/d/c.jpg", [(CAT, 0.4, (10, 10, 30, 30))]),
    ]

    first, second, third = matched(tmp_path, rows, [(3, CAT, (10, 10, 20, 20))])

    assert first.outcomes.tolist() == [FALSE_POSITIVE]
    assert (second.f1_at(0.5), third.f1_at(0.5), third.f1_at(0.3)) == (1.0, 0.0, 1.0)
    assert third.matched_scores == pytest.approx([0.4])


def test_objects_are_grouped_as_bpr_groups_them(tmp_path: Path):
    rows = [
        found(0, "/d/a.jpg", [(CAT, 0.9, (10, 10, 30, 30)), (CAT, 0.3, (40, 10, 90, 60))]),
        found(1, "/d/b.jpg", []),
    ]
    boxes = [
        (1, CAT, (10, 10, 20, 20)),
        (1, CAT, (40, 10, 50, 50)),
        (1, DOG, (40, 10, 50, 40)),
        (2, DOG, (0, 0, 5, 60)),
    ]
    run = write_run(tmp_path / "RUN", rows, shard_size=1)
    annotations = load_annotations(
        write_annotations(tmp_path / "a.json", rows, boxes), names="images and frames"
    )

    groups = scan(run, RunGroundTruth(run, annotations, None), 0.5).groups

    def counts(name: str) -> dict[str, tuple[int, int, int]]:
        return {
            group: (tally.total, tally.found, tally.found_at_score)
            for group, tally in groups[name].items()
            if tally.total
        }

    assert counts("area") == {"small": (2, 1, 1), "medium": (2, 1, 0)}
    assert counts("crowding") == {"alone": (2, 1, 1), "IoU 0.75-1": (2, 1, 0)}
    assert counts("aspect") == {"1-1.5": (3, 2, 1), "12+": (1, 0, 0)}


def test_an_image_without_detections_misses_its_objects(tmp_path: Path):
    (image,) = matched(tmp_path, [found(0, "/d/a.jpg", [])], [(1, CAT, (1, 1, 5, 5))])

    assert image.outcomes.dtype == np.int8
    assert image.counts_at(0.5) == (0, 0, 1)
