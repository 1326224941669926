"""Drawing: colours, text, outlines, labels and views say what they should, whatever comes in."""

import itertools

import numpy as np
import pytest

from jobs.media.drawing.colors import (
    LOST,
    dimmed,
    heat_colors,
    text_color_on,
)
from jobs.media.drawing.labels import LabelWish, draw_label, place_labels
from jobs.media.drawing.outlines import Outline, draw_outline, hatch
from jobs.media.drawing.palette import class_color, oklab
from jobs.media.drawing.text import TextStyle, draw_text, shortened, text_width
from jobs.media.drawing.view import View, fitted

STYLE = TextStyle(size_px=14)
COCO_IDS = range(1, 91)


def blank(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)


def luminance(color) -> float:
    linear = [
        v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color
    ]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def distance(a, b) -> float:
    return float(np.linalg.norm(np.subtract(a, b)))


def written(text: str, width: int = 400) -> np.ndarray:
    image = blank(24, width)
    draw_text(image, text, 2, 2, STYLE)
    return image


def test_classes_of_coco_differ_and_none_is_the_red_of_lost_boxes():
    places = oklab([class_color(id_) for id_ in COCO_IDS])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(len(places))

    assert apart[:12, :12].min() > 0.15
    assert apart.min() > 0.06
    assert np.linalg.norm(places - oklab([LOST]), axis=1).min() > 0.15


def test_a_class_keeps_its_colour():
    assert [class_color(id_) for id_ in (1, 2, 90)] == [
        (0, 120, 255),
        (255, 195, 240),
        (255, 105, 225),
    ]


@pytest.mark.parametrize("id_", [-1, 0, 10**9, 2**53])
def test_any_id_has_a_colour(id_: int):
    assert all(0 <= value <= 255 for value in class_color(id_))


def test_text_on_every_class_colour_has_the_contrast_that_small_text_needs():
    for color in (*map(class_color, COCO_IDS), LOST):
        light, dark = sorted((luminance(color), luminance(text_color_on(color))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) > 4.5


def test_heat_grows_brighter_and_stands_out_from_a_dimmed_image():
    heat = heat_colors(np.linspace(0, 1, 11)[None])[0]
    brightest = dimmed(np.full((1, 1, 3), 255, np.uint8))[0, 0]

    values = [luminance(color) for color in heat]
    assert values == sorted(values)
    assert min(distance(color, brightest) for color in heat) > 60


@pytest.mark.parametrize("text", ["Größe", "кошка", "Σκύλος", "猫", "قطة", "2 \u00d7 3 · 4 …"])
def test_letters_of_many_scripts_are_drawn(text: str):
    image = written(text)

    assert (image < 128).any()
    assert not np.array_equal(image, written("?" * len(text)))


@pytest.mark.parametrize(
    "text", ["\ud800", "a\0b", "line\nend", "\u202eevil", "\x1b[31m", "\U0010ffff", "\t"]
)
def test_what_is_no_letter_is_drawn_as_a_question_mark(text: str):
    expected = "".join(c if c.isprintable() else "?" for c in text)

    assert np.array_equal(written(text), written(expected))


def test_text_stays_where_it_was_measured_to_be():
    for text in ("Übergröße", "<img src=x onerror=alert(1)>", "gjpqy ÀÉ", "WWWW"):
        width = text_width(text, STYLE)
        inked = np.argwhere((written(text, 600) < 250).any(axis=2))
        assert inked[:, 1].max() <= 2 + width + 1
        assert inked[:, 0].min() >= 2
        assert inked[:, 0].max() < 2 + STYLE.line_px


def test_text_is_shortened_to_the_width():
    text = "all locations taken by smaller boxes (#1, #22, #333) " + "w" * 90

    assert shortened("short", STYLE, 100) == "short"
    assert text_width(shortened(text, STYLE, 120), STYLE) <= 120
    assert shortened(text, STYLE, 120).endswith("…")


def test_an_outline_is_on_the_sides_and_nowhere_else():
    image = blank(60, 60)
    draw_outline(image, (10, 20, 40, 50), Outline(color=(200, 0, 0), width_px=1))

    assert (image[20, 10:41] == (200, 0, 0)).all()
    assert (image[20:51, 40] == (200, 0, 0)).all()
    assert (image[21:50, 11:40] == 255).all()
    assert (image[:20] == 255).all()


def test_a_dashed_outline_has_gaps():
    image = blank(100, 100)
    draw_outline(image, (5, 5, 95, 95), Outline(color=LOST, width_px=1, is_dashed=True))

    share = (image[5, 5:96] == LOST).all(axis=1).mean()
    assert 0.4 < share < 0.9


@pytest.mark.parametrize("box", [(-50, -50, 500, 500), (30, 30, 30, 30), (90, 10, 95, 12)])
def test_boxes_that_leave_the_image_or_have_no_extent_can_be_drawn(box):
    image = blank(40, 40)
    draw_outline(image, box, Outline(color=LOST, is_dashed=True, has_shadow=True))
    hatch(image, box)


def overlap(a, b) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def random_boxes(count: int, width: int, height: int):
    rng = np.random.default_rng(count)
    for _ in range(count):
        x, y = rng.uniform(0, width - 8), rng.uniform(0, height - 8)
        w, h = (
            min(4 * 2 ** rng.uniform(0, 6), width - x),
            min(4 * 2 ** rng.uniform(0, 6), height - y),
        )
        yield int(x), int(y), int(x + w), int(y + h)


@pytest.mark.parametrize("count", [1, 60])
def test_labels_neither_overlap_nor_leave_the_image(count: int):
    wishes = [
        LabelWish(
            box=box, texts=[f"{i} some class P3 P4", f"{i} P3 P4", f"{i}"], color=(255, 255, 0)
        )
        for i, box in enumerate(random_boxes(count, 1000, 700))
    ]

    labels = place_labels(wishes, (700, 1000), STYLE)

    assert [label.wish for label in labels] == wishes
    for label in labels:
        x_min, y_min, x_max, y_max = label.corners
        assert 0 <= x_min < x_max < 1000
        assert 0 <= y_min < y_max < 700
    assert not any(overlap(a.corners, b.corners) for a, b in itertools.combinations(labels, 2))
    num_full = sum(label.text == label.wish.texts[0] for label in labels)
    assert num_full > 0.5 * count


def test_a_label_beside_its_box_does_not_hide_small_boxes():
    boxes = [(100, 100, 110, 110), (112, 84, 122, 94), (100, 112, 110, 122)]
    wishes = [LabelWish(box=box, texts=[str(i)], color=(0, 255, 0)) for i, box in enumerate(boxes)]

    labels = place_labels(wishes, (300, 300), STYLE)

    assert not any(overlap(label.corners, box) for label in labels for box in boxes)


def test_a_label_that_fits_nowhere_is_left_out():
    wish = LabelWish(box=(0, 0, 5, 5), texts=["a"], color=(0, 0, 0))

    assert place_labels([wish], (8, 8), STYLE) == []


def test_a_label_is_drawn_within_its_corners():
    wish = LabelWish(box=(50, 50, 90, 90), texts=["7 Größe P3"], color=(255, 220, 0))
    (label,) = place_labels([wish], (200, 200), STYLE)
    image = blank(200, 200)

    draw_label(image, label, STYLE)

    changed = np.argwhere((image != 255).any(axis=2))
    assert (*changed.min(axis=0)[::-1], *changed.max(axis=0)[::-1]) == label.corners


@pytest.mark.parametrize("shape", [(427, 640), (2000, 150), (1, 1), (20, 3000), (64, 48)])
def test_a_view_fits_and_maps_the_corners_of_the_input_to_those_of_the_image(shape):
    view = View.of(np.zeros((*shape, 3), np.uint8), (800, 1201), (400, 500))

    height, width = view.pixels.shape[:2]
    assert (height, width) == fitted(shape, (400, 500))
    assert height <= 400
    assert width <= 500
    assert view.corners(np.array([0.0, 0.0, 1201.0, 800.0])) == (0, 0, width - 1, height - 1)
