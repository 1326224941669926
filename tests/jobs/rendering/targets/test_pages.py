"""The pages of targets: what is painted at a location is what the location learns."""

import base64
import hashlib

import cv2
import numpy as np
import pytest

from fcos_core.category import Category
from fcos_core.metrics.bpr.rules import LocationRule, named_rule
from fcos_core.target_maps import ImageTargets, LevelTargets, image_targets
from jobs.media.drawing.colors import LOST, dimmed, heat_colors
from jobs.media.drawing.palette import class_color
from jobs.media.drawing.view import View
from jobs.rendering.targets.location_map import paint_locations
from jobs.rendering.targets.page import targets_page
from jobs.rendering.targets.panels import (
    cause_in_words,
    centerness_panel,
    class_panel,
    distances_panel,
    ground_truth_panel,
)
from tests.jobs.html.pages import Document, parse

SHAPE = (480, 640)
NO_CROWDS = np.zeros((0, 4))
CATEGORIES = [Category(id=1, name="person"), Category(id=2, name="<img src=x onerror=alert(1)>")]
GREY = np.full((*SHAPE, 3), 128, np.uint8)


def location_rule(name: str) -> LocationRule:
    rule = named_rule(name)
    assert isinstance(rule, LocationRule)
    return rule


def targets_of(rule: str, *boxes: tuple[float, float, float, float]) -> ImageTargets:
    """Boxes as x, y, width, height; their labels take turns."""
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    return image_targets(SHAPE, corners, np.arange(len(boxes)) % 2, location_rule(rule))


def colors_of(targets: ImageTargets) -> np.ndarray:
    return np.array([class_color(CATEGORIES[label].id) for label in targets.labels], np.uint8)


def small_view(targets: ImageTargets) -> View:
    return View.of(GREY, targets.resized_shape, (400, 364)).dimmed()


def in_image(view: View, level: LevelTargets, row: int, column: int):
    x, y = view.point(level.x[column], level.y[row])
    height, width = view.pixels.shape[:2]
    return (y, x) if 0 <= y < height and 0 <= x < width else None


@pytest.mark.parametrize("rule", ["paper", "torchvision", "paper-p4"])
def test_each_location_has_the_colour_of_what_it_learns(rule: str):
    targets = targets_of(
        rule, (20, 30, 40, 50), (100, 100, 300, 260), (300, 50, 90, 120), (0, 0, 640, 480)
    )
    colors = colors_of(targets)
    background = dimmed(GREY)[0, 0]
    for level in targets.levels:
        classes = class_panel(small_view(targets), level, colors)
        view = small_view(targets)
        heat = centerness_panel(view, level)
        for row, column in np.ndindex(level.matched.shape):
            place = in_image(view, level, row, column)
            winner = level.matched[row, column]
            if place is not None and winner >= 0:
                assert (classes[place] == colors[winner]).all()
                expected = heat_colors(level.centerness[row : row + 1, column : column + 1])
                assert (heat[place] == expected[0, 0]).all()
            elif place is not None:
                # Background, or the small grey dot of an idle location.
                assert np.ptp(classes[place]) <= np.ptp(background) + 12
    assert sum(level.num_positive for level in targets.levels) > 0


def test_nothing_is_painted_where_nothing_is_learned():
    targets = targets_of("paper")
    for level in targets.levels[:3]:
        view = small_view(targets)
        assert np.array_equal(
            class_panel(view, level, np.zeros((0, 3), np.uint8)), small_view(targets).pixels
        )


def test_close_locations_become_an_area_without_holes():
    view = View(np.zeros((100, 100, 3), np.uint8), 0.25, 0.25)
    centers = np.arange(50) * 8.0 + 4
    white = np.full((50, 50, 3), 255, np.uint8)
    is_painted = np.zeros((50, 50), bool)
    is_painted[10:20, 10:20] = True

    paint_locations(view, centers, centers, white, is_painted)

    assert (view.pixels[20:40, 20:40] == 255).all()
    assert view.pixels.sum() == 20 * 20 * 3 * 255


def test_a_level_of_one_location_can_be_painted():
    view = View(np.zeros((20, 20, 3), np.uint8), 0.2, 0.2)
    color = np.full((1, 1, 3), 200, np.uint8)

    paint_locations(view, np.array([64.0]), np.array([64.0]), color, np.ones((1, 1), bool))

    assert (view.pixels[12, 12] == 200).all()
    assert (view.pixels[0, 0] == 0).all()


def test_distances_lead_from_a_location_to_the_sides():
    targets = targets_of("improved", (200, 150, 200, 150))
    level = next(level for level in targets.levels if level.num_positive)
    view = small_view(targets)
    panel = distances_panel(view, level, targets.boxes, colors_of(targets))
    x_min, y_min, x_max, y_max = view.corners(targets.boxes[0])

    row, column = np.unravel_index(level.centerness.argmax(), level.centerness.shape)
    x, y = view.point(level.x[column], level.y[row])

    left, right = panel[y, (x_min + x) // 2], panel[y, (x + x_max) // 2]
    top, bottom = panel[(y_min + y) // 2, x], panel[(y + y_max) // 2, x]
    drawn = {tuple(color.tolist()) for color in (left, top, right, bottom)}
    assert len(drawn) == 4
    assert (panel[y, x] == 255).all()


@pytest.mark.parametrize(
    ("rule", "boxes", "expected"),
    [
        ("paper", [(100, 100, 200, 200)], None),
        # Twice as large in the input: 6 pixels between locations that are 8 apart.
        ("paper", [(101, 101, 2, 2)], "no location inside"),
        # Too long for P3 from any of the few locations inside, and between those of P4.
        ("improved", [(200, 147.6, 200, 5)], "outside every range"),
        (
            "paper",
            [(100, 100, 100, 100), (100, 100, 100, 100)],
            "all locations taken by smaller boxes (#1)",
        ),
    ],
)
def test_a_lost_box_says_why(rule: str, boxes, expected: str | None):
    targets = targets_of(rule, *boxes)

    assert cause_in_words(targets, len(boxes) - 1) == expected


def test_a_lost_box_is_red_and_dashed_and_its_label_says_the_cause():
    targets = targets_of("paper", (100, 100, 100, 100), (100, 100, 100, 100))
    view = View.of(GREY, targets.resized_shape, (960, 1280))
    panel = ground_truth_panel(view, targets, CATEGORIES, NO_CROWDS)

    reds = (panel == LOST).all(axis=2)
    x_min, y_min, x_max, _ = view.corners(targets.boxes[1])
    share = reds[y_min, x_min:x_max].mean()
    assert 0.3 < share < 0.95
    label_rows = np.flatnonzero(reds.sum(axis=1) > 250)
    assert len(label_rows) >= 2


def test_crowd_regions_are_hatched_and_teach_nobody():
    targets = targets_of("paper")
    view = View.of(GREY, targets.resized_shape, (480, 640))
    panel = ground_truth_panel(view, targets, CATEGORIES, np.array([[100.0, 100.0, 900.0, 700.0]]))

    assert (panel != GREY).any()
    assert targets.num_positive == 0


def page_of(image: np.ndarray, title: str, targets: ImageTargets, crowds=NO_CROWDS) -> Document:
    return parse(targets_page(image, title, targets, CATEGORIES, crowds).decode())


def images_of(page: Document) -> list[np.ndarray]:
    sources = [one.attributes["src"] for one in page.named("img") if "src" in one.attributes]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    data = [np.frombuffer(base64.b64decode(one.partition(",")[2]), np.uint8) for one in sources]
    decoded = [cv2.imdecode(one, cv2.IMREAD_COLOR) for one in data]
    return [image for image in decoded if image is not None]


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        *(((480, 640), count) for count in (0, 1, 60, 1600)),
        *((shape, 60) for shape in ((640, 480), (1, 1), (40, 2000), (2000, 40))),
    ],
)
def test_a_page_can_be_made_of_any_shape_and_lists_any_number_of_boxes(shape, count: int):
    rng = np.random.default_rng(count)
    height, width = shape
    starts = rng.uniform(0, 0.9, (count, 2)) * (width, height)
    sizes = rng.uniform(0, 1, (count, 2)) * ((width, height) - starts)
    targets = image_targets(
        shape,
        np.concatenate([starts, sizes], axis=1),
        rng.integers(0, 2, count),
        location_rule("improved"),
    )
    image = np.zeros((height, width, 3), np.uint8)

    page = page_of(image, "猫 " * 200, targets)

    rows = [one.text for one in page.named("th") if one.attributes.get("scope") == "row"]
    assert rows == [f"#{i + 1}" for i in range(count)]
    assert ("every location learns background" in page.text) == (count == 0)
    assert len(images_of(page)) == 1 + 3 * len(targets.levels)
    assert not image.any()


@pytest.mark.parametrize("far", [2.0**31, -1e15])
def test_boxes_far_outside_of_the_image_are_drawn_as_far_as_they_are_in_it(far: float):
    boxes = np.array([(far, 100, 80, 90), (100, far, 80, 90), (min(far, 0), 50, 2e15, 60)])
    targets = image_targets(SHAPE, boxes, np.zeros(3, np.int64), location_rule("paper"))

    page = page_of(GREY, "far", targets, np.array([[far, far, far + 9, far + 9]]))

    assert len(images_of(page)) == 1 + 3 * len(targets.levels)
    assert "crowd region (1)" in page.text


def test_a_page_says_in_text_which_levels_learn_a_box_and_why_another_is_lost():
    targets = targets_of("paper", (100, 100, 100, 100), (100, 100, 100, 100))
    page = page_of(GREY, "image 7 · a.jpg", targets)
    cells = [one.text for one in page.elements if one.name in {"th", "td"}]

    assert "image 7 · a.jpg" in page.text
    sizes = page.text.replace("\N{MULTIPLICATION SIGN}", "x")
    assert "640 x 480 px, resized to 1066 x 800 px, padded to 1088 x 800 px" in sizes
    assert "1 of 2 boxes recalled, 1 lost" in page.text
    assert "all locations taken by smaller boxes (#1)" in cells
    kept = targets.outcomes.num_kept[0].tolist()
    first = cells.index("#1")
    assert [int(text) for text in cells[first + 4 : first + 4 + len(kept)]] == kept
    assert sum(kept) > 0


def test_names_become_text_and_the_page_loads_and_runs_nothing_but_itself():
    hostile = "<img src=x onerror=alert(1)>"
    data = targets_page(
        GREY,
        f"image 1 · {hostile}</title>",
        targets_of("paper", (100, 100, 100, 100), (20, 20, 90, 90)),
        CATEGORIES,
        NO_CROWDS,
    ).decode()
    page = parse(data)

    assert page.text.count(hostile) >= 4
    assert len(images_of(page)) == 16
    assert "http" not in data.replace("http-equiv", "")
    attributes = {name for element in page.elements for name in element.attributes}
    assert not [name for name in attributes if name.startswith("on") or name == "style"]
    assert all(
        one.attributes["href"].startswith(("#", "data:"))
        for one in page.elements
        if "href" in one.attributes
    )
    policy = next(
        one.attributes["content"] for one in page.named("meta") if "http-equiv" in one.attributes
    )
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for name in ("style", "script"):
        (element,) = page.named(name)
        digest = hashlib.sha256(element.text.encode()).digest()
        assert f"{name}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
