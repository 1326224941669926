"""Small random datasets that dwell on what COCO's rules turn on: edges, ties, crowds and gaps."""

import numpy as np

from tests.fcos_core.metrics.judge import Record

_EDGES = (32.0**2, 96.0**2, 1e10)
_EDGE_AREAS = [
    -1.0,
    0.0,
    *(area for edge in _EDGES for area in (np.nextafter(edge, 0), edge, np.nextafter(edge, 2e10))),
]
_EDGE_SIDES = [
    (0.0, 0.0), (0.0, 9.0), (32.0, 32.0), (16.0, 64.0), (np.nextafter(32.0, 33.0), 32.0),
    (96.0, 96.0), (48.0, 192.0), (1e5, 1e5), (1e5, 1e5 + 1),
]  # fmt: skip
_SHIFTS = (0.0, 0.0, 0.0, 0.05, 0.25, 0.25, 1 / 3, 1.0)


def random_coco(seed: int) -> tuple[Record, list[Record]]:
    """Draw a dataset and results for it, the same for the same seed.

    Most have a few images; one in fifty has sixty. Some images have no objects, no detections, or
    neither; some categories too; boxes and detections of categories that the dataset does not list
    are among them. Ids begin at 0 or anywhere, in no order.
    """
    random = np.random.default_rng(seed)
    num_images = 60 if seed % 50 == 0 else int(random.integers(1, 7))
    image_ids = random.permutation(2 * num_images)[:num_images] * int(random.choice([1, 10**6]))
    category_ids = random.permutation(9)[: random.integers(1, 4)]
    used_ids = np.append(category_ids[: random.integers(1, 4)], 99)  # 99 is not listed
    num_boxes = int(random.choice([0, 1, 3, 8, 16]) * (1 + num_images // 10))
    boxes = _boxes(random, num_boxes)
    truth = {
        "image_id": random.choice(image_ids, num_boxes),
        "category_id": random.choice(used_ids, num_boxes, p=_mostly_listed(used_ids)),
    }
    # Twins half a width beside: a detection in the middle overlaps both alike, and takes the last.
    twins = np.flatnonzero(random.random(num_boxes) < random.choice([0.0, 0.6]))
    boxes = np.concatenate([boxes, boxes[twins] + boxes[twins][:, [2]] * [0.5, 0, 0, 0]])
    truth = {name: np.append(values, values[twins]) for name, values in truth.items()}
    num_boxes = len(boxes)
    areas = np.select(
        [random.random(num_boxes) < 0.3, random.random(num_boxes) < 0.3],
        [random.choice(_EDGE_AREAS, num_boxes), 0.8 * boxes[:, 2] * boxes[:, 3]],
        boxes[:, 2] * boxes[:, 3],
    )
    annotations = {
        **truth,
        "id": random.permutation(num_boxes),
        "bbox": boxes,
        "area": areas,
        "iscrowd": (random.random(num_boxes) < random.choice([0.0, 0.15, 0.5])).astype(int),
        "ignore": random.integers(0, 2, num_boxes),  # COCO's evaluation takes no notice of it
    }
    dataset = {
        "images": [{"id": id_} for id_ in image_ids.tolist()],
        "annotations": _records(annotations),
        "categories": [{"id": id_, "name": str(id_)} for id_ in category_ids.tolist()],
    }
    return dataset, _results(random, image_ids, used_ids, boxes, truth)


def _results(random, image_ids, used_ids, boxes, truth) -> list[Record]:
    """Detections beside the boxes, some of another category, and some anywhere."""
    copied = np.repeat(np.arange(len(boxes)), random.integers(0, 4, len(boxes)))
    moved = boxes[copied]
    moved[:, :2] += random.choice(_SHIFTS, (len(copied), 2)) * moved[:, 2:]
    num_others = int(random.integers(0, 6))
    categories = np.where(
        random.random(len(copied)) < 0.85,
        truth["category_id"][copied],
        random.choice(used_ids, len(copied)),
    )
    found = {
        "image_id": np.append(truth["image_id"][copied], random.choice(image_ids, num_others)),
        "category_id": np.append(categories, random.choice(used_ids, num_others)),
        "bbox": np.concatenate([moved, _boxes(random, num_others)]),
    }
    if random.random() < 0.1:  # more of one image and category than COCO looks at
        num_more = int(random.integers(90, 160))
        if len(boxes):
            more = boxes[random.integers(0, len(boxes), num_more)]
        else:
            more = _boxes(random, num_more)
        more[:, :2] += random.choice(_SHIFTS, (num_more, 2)) * more[:, 2:]
        found["image_id"] = np.append(
            found["image_id"], np.full(num_more, random.choice(image_ids))
        )
        found["category_id"] = np.append(found["category_id"], np.full(num_more, used_ids[0]))
        found["bbox"] = np.concatenate([found["bbox"], more])
    found["score"] = _scores(random, len(found["bbox"]))
    order = random.permutation(len(found["bbox"]))
    return _records({name: values[order] for name, values in found.items()})


def _boxes(random: np.random.Generator, count: int) -> np.ndarray:
    """On a coarse grid where overlaps are exact and equal, with sides on area edges, or anyhow."""
    grid = random.integers(0, 8, (count, 4)) * 7.5
    edge = np.concatenate(
        [
            random.integers(0, 3, (count, 2)) * 10.0,
            np.array(_EDGE_SIDES)[random.integers(0, len(_EDGE_SIDES), count)],
        ],
        axis=1,
    )
    anyhow = random.uniform(-20, 130, (count, 4))
    anyhow[:, 2:] = np.abs(anyhow[:, 2:])
    return np.stack([grid, edge, anyhow])[random.integers(0, 3, count), np.arange(count)]


def _scores(random: np.random.Generator, count: int) -> np.ndarray:
    """All alike, few different ones, single precision as a model gives them, or any."""
    any_score = random.random(count)
    kinds = (np.full(count, 0.5), np.round(any_score * 4) / 4, any_score.astype(np.float32))
    return np.stack([*kinds, any_score])[random.integers(0, 4)].astype(np.float64)


def _mostly_listed(used_ids: np.ndarray) -> np.ndarray:
    return np.append(np.full(len(used_ids) - 1, 0.9 / (len(used_ids) - 1)), 0.1)


def _records(columns: dict[str, np.ndarray]) -> list[Record]:
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]
