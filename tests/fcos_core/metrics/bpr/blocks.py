"""Blocks of boxes for tests: images of all shapes, and boxes of all kinds of difficulty."""

import numpy as np
from hypothesis import strategies as st

from fcos_core.metrics.bpr import BoxBlock


def block_of(*images):
    """Make a block from (height, width, [(x, y, w, h), ...], [label, ...]) per image."""
    index = [i for i, image in enumerate(images) for _ in image[2]]
    return BoxBlock(
        np.array([image[:2] for image in images], np.int64).reshape(-1, 2),
        np.array(index, np.int64),
        np.array([box for image in images for box in image[2]], np.float64).reshape(-1, 4),
        np.array([label for image in images for label in image[3]], np.int64),
    )


_LENGTHS = st.one_of(
    st.sampled_from([0.0, 0.01, 1.0, 2.0, 63.0, 64.0, 65.0, 128.0, 256.0]),
    st.floats(0, 40),
    st.floats(0, 700),
)
_BOXES = st.tuples(
    st.one_of(st.integers(-40, 640).map(float), st.floats(-100, 700)),
    st.one_of(st.integers(-40, 640).map(float), st.floats(-100, 700)),
    _LENGTHS,
    _LENGTHS,
)


@st.composite
def images(draw, max_boxes=12):
    """One image, some of whose boxes may be copies of others, moved or not."""
    height, width = draw(st.tuples(st.integers(1, 700), st.integers(1, 700)))
    boxes = draw(st.lists(_BOXES, max_size=max_boxes))
    if boxes:
        copies = draw(st.lists(st.sampled_from(boxes), max_size=4))
        moved = draw(st.lists(st.tuples(st.sampled_from(boxes), st.floats(0, 9)), max_size=4))
        boxes = [*boxes, *copies, *((x + by, y, w, h) for (x, y, w, h), by in moved)]
    labels = draw(st.lists(st.integers(0, 2), min_size=len(boxes), max_size=len(boxes)))
    return height, width, boxes, labels


def crowded(num_boxes, seed, size=(480, 640)):
    """An image with very many boxes of a few sizes."""
    random = np.random.default_rng(seed)
    sides = np.exp(random.uniform(np.log(1), np.log(400), (num_boxes, 2)))
    corners = random.uniform(-20, [size[1], size[0]], (num_boxes, 2))
    boxes = np.round(np.concatenate([corners, sides], axis=1), random.integers(0, 3))
    return *size, [tuple(box) for box in boxes.tolist()], random.integers(0, 5, num_boxes).tolist()
