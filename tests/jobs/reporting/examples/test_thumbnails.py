"""What a thumbnail shows of its image, what is drawn on it, and its size in bytes."""

from pathlib import Path

import numpy as np
import pytest

from jobs.inputs.relocated import image_reader
from jobs.media.drawing.colors import LOST
from jobs.media.drawing.palette import class_color
from jobs.media.image.decode import decode_image
from jobs.reporting.examples.canvas import LONGEST_BYTES, Canvas, encoded
from jobs.reporting.examples.selection import Example
from jobs.reporting.examples.thumbnails import ThumbnailRenderer
from tests.jobs.reporting.runs import found, write_image


def drawn_at(pixels: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Rows and columns whose pixels are about that colour, after JPEG."""
    near = np.abs(pixels.astype(int) - np.array(color)).max(axis=2) < 48
    return np.argwhere(near)


@pytest.mark.parametrize("shape", [(2000, 3000), (40, 8000), (1, 1), (5000, 20)])
def test_a_thumbnail_of_noise_is_small_enough(shape: tuple[int, int]):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)

    data = Canvas.of(pixels, None).jpeg()

    assert len(data) <= LONGEST_BYTES
    assert max(decode_image(data, place="x").shape) <= 640


def test_an_image_too_large_at_the_lowest_quality_is_made_smaller():
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)

    assert decode_image(encoded(pixels), place="x").shape[0] in (750, 375, 188)


def test_detections_are_drawn_in_the_colour_of_their_class(tmp_path: Path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(np.full((480, 640, 3), 20, np.uint8)))
    row = found(0, str(path), [(1, 0.9, (100, 100, 300, 300))], width=640, height=480)

    thumbnail = ThumbnailRenderer(image_reader(None), {1: "cat"}, 0.5).draw(Example(row=row))

    assert thumbnail is not None
    assert (thumbnail.width, thumbnail.height) == (640, 480)
    places = drawn_at(decode_image(thumbnail.jpeg, place="x"), class_color(1))
    assert places.min(axis=0) == pytest.approx([100, 100], abs=32), "its label is above the box"
    assert places.max(axis=0) == pytest.approx([300, 300], abs=4)
    assert not len(drawn_at(decode_image(thumbnail.jpeg, place="x"), LOST))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((300, 300, 340, 330), (240, 255), id="in the middle"),
        pytest.param((0, 0, 40, 30), (0, 0), id="in a corner"),
        pytest.param((960, 970, 1000, 1000), (840, 880), id="in the other corner"),
    ],
)
def test_a_crop_lies_around_its_box_and_inside_the_image(
    box: tuple[float, ...], expected: tuple[int, int]
):
    canvas = Canvas.of(np.zeros((1000, 1000, 3), np.uint8), np.array(box))

    assert (canvas.x, canvas.y) == expected
    x_min, y_min, x_max, y_max = canvas.corners(np.array(box))
    height, width = canvas.shape
    assert min(x_min, y_min) >= 0
    assert x_max < width
    assert y_max < height


def test_a_moved_image_of_an_archive_is_read_from_the_image_root(tmp_path: Path):
    write_image(tmp_path / "sub/a.jpg")
    row = found(0, "/old/data.tar#sub/a.jpg", [])

    assert image_reader(str(tmp_path))(row) == (tmp_path / "sub/a.jpg").read_bytes()
