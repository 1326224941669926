"""``fcos render --targets``: pages of real files, and what happens to those that are no use."""

import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

import jobs.render
from fcos_core.errors import ConfigError
from fcos_core.metrics.bpr.locations import measure_locations
from fcos_core.metrics.bpr.rules import LocationRule, named_rule
from fcos_core.metrics.bpr.structures import BoxBlock
from fcos_core.target_maps import image_targets
from jobs import synthetic
from jobs.annotations.coco_json import CocoAnnotations, CocoImage, load_annotations
from jobs.cli.commands import main
from jobs.render import RenderConfig, run
from jobs.rendering.targets.run import page_name
from tests.jobs.html.pages import parse

RULES = ("paper", "improved", "torchvision", "paper-p4")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.generate(tmp_path_factory.mktemp("generated"), num_images=12, seed=4)


def write_dataset(folder: Path, images: dict[str, tuple[int, int]], **changes: Any) -> Path:
    """Grey images by name with width and height, one box on each, annotated in order."""
    for name, (width, height) in images.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
    document = {
        "images": [
            {"id": i, "file_name": name, "width": width, "height": height}
            for i, (name, (width, height)) in enumerate(images.items(), start=1)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 5, "bbox": [4, 4, 20, 20]}
            for i in range(1, len(images) + 1)
        ],
        "categories": [{"id": 5, "name": "<img src=x onerror=alert(1)> 猫"}],
        **changes,
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(document))
    return path


def render(annotations: Path, out: Path, **settings: Any):
    return run(RenderConfig(targets=str(annotations), out=str(out), **settings))


def block_of(annotations: CocoAnnotations) -> BoxBlock:
    images = annotations.image_index
    kept = np.flatnonzero(~annotations.is_crowd)
    order = kept[np.argsort(images[kept], kind="stable")]
    return BoxBlock(
        image_sizes=np.array([(image.height, image.width) for image in annotations.images]),
        image_index=images[order],
        boxes=annotations.boxes[order],
        labels=annotations.labels[order],
    )


def assert_pages_agree_with_recall(annotations: CocoAnnotations, rule_name: str):
    """What the pages show of each image is what is counted over all of them at once."""
    rule = named_rule(rule_name)
    assert isinstance(rule, LocationRule)
    block = block_of(annotations)
    counted = measure_locations(block, rule)
    for i, image in enumerate(annotations.images):
        own = block.image_index == i
        shown = image_targets(
            (image.height, image.width), block.boxes[own], block.labels[own], rule
        )
        learned = np.zeros(int(own.sum()), bool)
        for number, level in enumerate(shown.levels):
            winners = level.matched[level.is_positive]
            learned[winners] = True
            kept = np.bincount(winners, minlength=len(learned))
            np.testing.assert_array_equal(kept, counted.num_kept[own, number])
        np.testing.assert_array_equal(learned, counted.is_recalled[own])


@pytest.mark.parametrize("rule", ["improved", "torchvision"])
def test_pages_of_real_images_agree_with_best_possible_recall(shared_data: Path, rule: str):
    path = shared_data / "coco_tiny" / "annotations" / "instances_val2017.json"
    assert_pages_agree_with_recall(load_annotations(str(path)), rule)


@pytest.mark.parametrize("rule", RULES)
def test_pages_of_generated_images_agree_with_best_possible_recall(generated: Path, rule: str):
    assert_pages_agree_with_recall(load_annotations(str(generated)), rule)


def test_real_images_are_drawn_where_detect_finds_them(shared_data: Path, tmp_path: Path):
    path = shared_data / "coco_tiny" / "annotations" / "instances_val2017.json"

    result = render(path, tmp_path, rule="torchvision", limit=2)

    assert result.summary()["drawn"] == 2
    assert result.num_left_out == 48
    for uri in result.drawn:
        assert parse(Path(uri).read_text()).sections >= {"ground-truth", "boxes", "class-map"}


def test_the_first_images_are_drawn_and_the_rest_is_counted(
    generated: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)

    result = render(generated, tmp_path / "pages", rule="improved", limit=3)

    names = sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert names == [*(f"{i + 1:012d}_{i:06d}.html" for i in range(3)), "index.html"]
    found = load_annotations(str(generated))
    assert result.summary() == {
        "out": str(tmp_path / "pages"),
        "rule": "improved",
        "drawn": 3,
        "skipped": 0,
        "left_out": 9,
        "boxes": int((found.box_image_ids <= 3).sum()),
        "recalled": result.num_recalled,
    }
    assert "drawing the first 3 of 12 images; --limit 12 draws all" in caplog.text


def test_twenty_images_are_drawn_unless_another_number_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert jobs.render._TARGETS_LIMIT == 20
    monkeypatch.setattr(jobs.render, "_TARGETS_LIMIT", 2)
    path = write_dataset(tmp_path, dict.fromkeys(["a.png", "b.png", "c.png"], (60, 40)))

    assert render(path, tmp_path / "pages").summary()["drawn"] == 2
    assert render(path, tmp_path / "pages", limit=1).summary()["drawn"] == 1


def test_no_file_name_leads_out_of_the_folder(tmp_path: Path):
    names = ["../outside.png", "a/b.png", "c/b.png", "Größe 猫.png"]
    path = write_dataset(tmp_path / "data", dict.fromkeys(names, (60, 40)))
    before = {p for p in tmp_path.rglob("*") if p.is_file()}

    result = render(path, tmp_path / "pages", image_root=str(tmp_path / "data" / "images"))

    new = {p for p in tmp_path.rglob("*") if p.is_file()} - before
    assert {p.parent for p in new} == {tmp_path / "pages"}
    assert sorted(p.name for p in new) == [
        "000000000001_outside.html",
        "000000000002_b.html",
        "000000000003_b.html",
        "000000000004_Größe_猫.html",
        "index.html",
    ]
    assert len(result.drawn) == 4


@pytest.mark.parametrize(
    ("id_", "file_name", "expected"),
    [
        (139, "street.jpg", "000000000139_street.html"),
        (139, "000000000139.jpg", "000000000139.html"),
        (1, "..", "000000000001.html"),
        (1, "../../etc/passwd", "000000000001_passwd.html"),
        (1, "a\\..\\b.tar.gz", "000000000001_b.tar.html"),
        (1, "x\0y\ud800\n.jpg", "000000000001_x_y.html"),
        (1, "", "000000000001.html"),
        (1, "猫" * 300 + ".jpg", "000000000001_" + "猫" * 50 + ".html"),
        (-7, ".hidden", "-00000000007_hidden.html"),
    ],
)
def test_a_page_is_named_by_id_and_by_what_is_harmless_in_the_file_name(
    id_: int, file_name: str, expected: str
):
    name = page_name(CocoImage(id=id_, file_name=file_name, width=1, height=1))

    assert name == expected
    assert len(name.encode()) <= 255


def test_what_cannot_be_drawn_is_skipped_named_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    names = ["good.png", "damaged.png", "missing.png", "other-size.png"]
    path = write_dataset(tmp_path, dict.fromkeys(names, (60, 40)))
    images = tmp_path / "images"
    (images / "damaged.png").write_bytes((images / "damaged.png").read_bytes()[:40])
    (images / "missing.png").unlink()
    cv2.imwrite(str(images / "other-size.png"), np.zeros((60, 40, 3), np.uint8))

    result = render(path, tmp_path / "pages")

    assert (len(result.drawn), result.num_skipped, result.failure) == (1, 3, None)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 3
    for name in names[1:]:
        assert sum(name in warning for warning in warnings) == 1
    assert any("is 40 x 60, its annotation says 60 x 40" in warning for warning in warnings)


def test_when_nothing_could_be_drawn_the_exit_code_is_3(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    path = write_dataset(tmp_path, {"a.png": (60, 40)})
    (tmp_path / "images" / "a.png").write_bytes(b"no image")

    code = main(["render", "--targets", str(path), "--out", str(tmp_path / "pages")])

    out, err = capfd.readouterr()
    assert code == 3
    assert json.loads(out)["skipped"] == 1
    assert "error: none of 1 image could be drawn" in err
    assert "a.png" in caplog.text


def test_a_page_of_the_same_name_is_replaced(tmp_path: Path):
    path = write_dataset(tmp_path, {"a.png": (60, 40)})
    old = tmp_path / "pages" / "000000000001_a.html"
    old.parent.mkdir()
    old.write_bytes(b"old")

    render(path, tmp_path / "pages")

    assert parse(old.read_text()).sections >= {"ground-truth", "boxes"}
    assert [p.name for p in old.parent.iterdir()] == [old.name]


@pytest.mark.parametrize("name", ["000000000001.html", "index.html"])
def test_neither_a_page_nor_the_index_replaces_an_image(tmp_path: Path, name: str):
    path = write_dataset(tmp_path, {"000000000001.png": (60, 40)})
    document = json.loads(path.read_text())
    document["images"][0]["file_name"] = name
    path.write_text(json.dumps(document))
    image = (tmp_path / "images" / "000000000001.png").rename(tmp_path / "images" / name)
    before = image.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "images")

    for out in ("images", "link"):
        with pytest.raises(ConfigError, match="is one of the images: give another --out"):
            render(path, tmp_path / out)

    assert image.read_bytes() == before


def test_the_index_links_every_page_that_was_drawn(tmp_path: Path):
    names = ["a.png", "missing.png", "<b> #1?.png"]
    path = write_dataset(tmp_path, dict.fromkeys(names, (60, 40)))
    (tmp_path / "images" / "missing.png").unlink()

    result = render(path, tmp_path / "pages")

    index = parse((tmp_path / "pages" / "index.html").read_text())
    links = [
        one.attributes["href"]
        for one in index.named("a")
        if not one.attributes["href"].startswith("#")
    ]
    assert [str(tmp_path / "pages" / unquote(link)) for link in links] == list(result.drawn)
    assert "<b> #1?.png" in index.text
    assert "missing.png" not in index.text


def test_one_page_needs_no_index(tmp_path: Path):
    render(write_dataset(tmp_path, {"a.png": (60, 40)}), tmp_path / "pages")

    assert [p.name for p in (tmp_path / "pages").iterdir()] == ["000000000001_a.html"]


def test_crowd_regions_are_not_encoded(tmp_path: Path):
    boxes = [
        {"id": 1, "image_id": 1, "category_id": 5, "bbox": [4, 4, 20, 20], "iscrowd": 1},
        {"id": 2, "image_id": 1, "category_id": 5, "bbox": [4, 4, 20, 20], "iscrowd": 0},
    ]
    path = write_dataset(tmp_path, {"a.png": (60, 40)}, annotations=boxes)

    result = render(path, tmp_path / "pages")

    assert (result.num_boxes, result.num_recalled) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--targets", "ok.json"], "--out is missing"),
        (["--out", "pages"], "give RUN, or --targets FILE"),
        (["--targets", "none.json", "--out", "pages"], "none.json' cannot be read"),
        (["--targets", "cut.json", "--out", "pages"], "ends in the middle of images[0]"),
        (["--targets", "empty.json", "--out", "pages"], "lists no images"),
        (["--targets", "ok.json", "--out", "file"], "file' is a file, must be a folder"),
        (["--targets", "ok.json", "--out", "pages", "--limit", "0"], "--limit"),
        (["--targets", "ok.json", "--out", "pages", "--rule", "papre"], "rule 'papre': must be"),
        (
            ["--targets", "ok.json", "--out", "pages", "--rule", "retinanet-none"],
            "rule 'retinanet-none' has anchors and no locations to draw: choose one of paper, ",
        ),
        (
            ["--targets", "ok.json", "--out", "pages", "--image-root", "nowhere"],
            "image root 'nowhere' is no folder",
        ),
    ],
)
def test_what_cannot_work_is_one_line_exit_code_2_and_no_page(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
):
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path, {"a.png": (60, 40)}).rename("ok.json")
    Path("cut.json").write_text('{"images": [')
    Path("empty.json").write_text('{"images": [], "annotations": [], "categories": []}')
    Path("file").write_text("x")

    code = main(["render", *arguments])

    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert not Path("pages").exists()


def test_the_command_ends_with_one_line_of_json(
    tmp_path: Path, generated: Path, capfd: pytest.CaptureFixture[str]
):
    pages = tmp_path / "pages"
    arguments = [
        "--targets",
        str(generated),
        "--rule",
        "paper",
        "--out",
        str(pages),
        "--limit",
        "1",
    ]

    code = main(["render", *arguments])

    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert code == 0
    assert (result["out"], result["rule"], result["drawn"]) == (str(pages), "paper", 1)


def test_names_in_another_spelling_get_one_hint(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = write_dataset(tmp_path, {"a/x.png": (64, 48), "a/y.png": (64, 48), "z.png": (64, 48)})
    document = json.loads(path.read_text())
    for image in document["images"]:
        image["file_name"] = image["file_name"].replace("/", "\\")
    path.write_text(json.dumps(document))
    for limit in (2, 3, 99):
        caplog.clear()
        root = str(tmp_path / "images")
        result = render(path, tmp_path / f"out{limit}", image_root=root, limit=limit)
        assert (len(result.drawn), result.num_skipped) == (int(limit > 2), 2)
        hints = [message for message in caplog.messages if "match when" in message]
        assert hints == [
            f"{path}: 2 of its images are not there; images in {root} match when \\ in file_name "
            "is replaced by /"
        ]
