"""Detections on images: legible at any size, and nothing that a row may hold breaks an image."""

import numpy as np
import pytest

from jobs.media.drawing.detections import NO_BOXES, DetectedBoxes, draw_detections, enlarged
from jobs.media.drawing.palette import class_color

NAMES = {1: "cat", 3: "dog\n\0 <b>"}


def blank(height: int, width: int, color: tuple[int, int, int] = (255, 255, 255)) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def found(*boxes, score: float = 0.9, category_id: int = 1) -> DetectedBoxes:
    return DetectedBoxes(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.full(len(boxes), score, np.float32),
        category_ids=np.full(len(boxes), category_id, np.int32),
    )


def drawn(width: int, height: int, what: DetectedBoxes) -> np.ndarray:
    pixels = np.full((height, width, 3), 90, np.uint8)
    draw_detections(pixels, what, NAMES)
    return pixels


def places_of(pixels: np.ndarray, color) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.nonzero((pixels == np.array(color)).all(axis=2))
    return y, x


@pytest.mark.parametrize("factor", [1, 2, 6])
def test_lines_and_letters_grow_with_the_image(factor: int):
    box = np.array([100, 100, 300, 250]) * factor

    pixels = drawn(640 * factor, 480 * factor, found(box))

    y, x = places_of(pixels, class_color(1))
    row = x[y == 200 * factor]
    line_px = int((row < 200 * factor).sum())
    label_px = int(100 * factor - y.min())
    assert max(2, 1.5 * factor) <= line_px <= 2 * factor + 1  # OpenCV's lines are odd in width
    assert 14 * factor <= label_px <= 20 * factor
    assert x.min() <= 100 * factor <= x.min() + 2 * line_px


def test_a_box_covers_the_pixels_it_touches_and_stays_in_the_image():
    pixels = drawn(400, 400, found((-50.5, -3, 1e6, 399.2)))

    y, x = places_of(pixels, class_color(1))
    assert (x.min(), x.max(), y.max()) == (0, 399, 399)


@pytest.mark.parametrize(
    "box",
    [
        pytest.param((500, 10, 600, 20), id="right-of-it"),
        pytest.param((-20, -20, -1, -1), id="above-it"),
        pytest.param((np.nan, 0, 10, 10), id="no-number"),
        pytest.param((0, 0, np.inf, 10), id="infinite"),
    ],
)
def test_a_box_that_cannot_be_seen_draws_nothing(box):
    np.testing.assert_array_equal(drawn(400, 400, found(box)), blank(400, 400, (90, 90, 90)))


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (20, 20)])
def test_any_size_and_name_can_be_drawn(size: tuple[int, int]):
    drawn(*size, found((0, 0, 1, 1), (0, 0, 0, 0), category_id=3))
    drawn(*size, found((0, 0, 1, 1), category_id=-(2**31)))


def test_what_scores_less_or_is_of_another_class_is_left_out():
    both = DetectedBoxes(
        boxes=np.zeros((3, 4), np.float32),
        scores=np.array([0.9, 0.5, 0.4999], np.float32),
        category_ids=np.array([1, 3, 1], np.int32),
    )

    assert both.chosen(0.5, None).category_ids.tolist() == [1, 3]
    assert both.chosen(0.5, frozenset({3})).scores.tolist() == [0.5]
    assert both.chosen(0.95, None).boxes.shape == (0, 4)


def test_small_images_are_enlarged_by_whole_squares_and_others_are_left():
    small, large = blank(30, 100, (1, 2, 3)), blank(30, 320)
    small[0, 0] = 255

    larger, moved = enlarged(small, found((1, 2, 3, 4)))

    assert larger.shape == (120, 400, 3)
    assert (larger[:4, :4] == 255).all()
    assert (larger[4:] == (1, 2, 3)).all()
    assert moved.boxes.tolist() == [[4, 8, 12, 16]]
    assert enlarged(large, NO_BOXES)[0] is large
