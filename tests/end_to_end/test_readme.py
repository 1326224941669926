"""What the README shows must work as it stands there."""

import re

import cv2
import pytest

from fcos_core import load_checkpoint
from jobs.storage.weights import resolve_weights
from jobs.synthetic import generate
from tests.commands import DONE, ROOT, run_python


def test_the_python_example_finds_and_draws_objects(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    annotations = generate(tmp_path, num_images=1, seed=2_000_003)
    photo = tmp_path / "photo.jpg"
    (annotations.parent / "images" / "000000.jpg").rename(photo)
    assert run_python("-c", code, cwd=tmp_path).code == DONE
    before, after = cv2.imread(str(photo)), cv2.imread(str(tmp_path / "found.png"))
    assert after.shape == before.shape
    # Boxes are drawn in pure red: in OpenCV's order the last channel.
    is_red = (after == (0, 0, 255)).all(axis=2)
    assert is_red.sum() > 100


def numbers_of_the_readme() -> list[dict[str, float]]:
    """The numbers of the demo that the README shows: of images, then of frames."""
    text = (ROOT / "README.md").read_text()
    tables = text.split("COCO metrics (boxes), frames of videos")
    return [
        {name: float(value) for name, value in re.findall(r"(A[PR]\w*) +│ (0\.\d{4}) ", table)}
        for table in tables
    ]


def test_the_readme_and_the_page_of_the_demo_show_the_same_numbers():
    page = (ROOT / "docs" / "demo.md").read_text()
    rows = re.findall(r"^\| (0\.\d{3}) \| (0\.\d{3}) \| (0\.\d{3}) \|", page, re.MULTILINE)
    images, frames = numbers_of_the_readme()
    assert len(images) == 12
    for shown, row in zip((images, frames), rows, strict=True):
        assert len(shown) >= 4
        names = ("AP", "AP50", "AP75")
        for name, value in zip(names, row, strict=True):
            if name in shown:
                assert shown[name] == pytest.approx(float(value), abs=6e-4), name


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_the_demo_gives_the_numbers_of_the_readme(tmp_path):
    from jobs.demo import DemoConfig
    from jobs.demo import run as run_demo

    summary = run_demo(DemoConfig(out=str(tmp_path / "run"), num_actors=1)).summary()
    for given, shown in zip((summary, summary["video"]), numbers_of_the_readme(), strict=True):
        for name, value in shown.items():
            assert round(given[name], 4) == value, name
    text = (ROOT / "README.md").read_text()
    assert f"{summary['video']['detections']} detections" in text
    assert summary["planned"] == 420


def test_every_link_of_the_readme_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_every_command_of_the_readme_is_one_of_ours():
    from jobs.cli.commands import COMMANDS

    known = {command.name for command in COMMANDS}
    shown = set(re.findall(r"`fcos ([a-z]+)", (ROOT / "README.md").read_text()))
    assert shown <= known
    assert {"run", "detect", "verify", "evaluate", "train", "demo"} <= shown


@pytest.mark.parametrize("name", ["train.yaml", "finish.yaml"])
def test_the_recipe_of_the_bundled_checkpoint_is_valid_and_describes_it(name):
    from jobs.cli.config_file import load_settings
    from jobs.train import TrainConfig
    from jobs.training.initial_model import _model_config

    file = ROOT / "jobs" / "assets" / "demo" / name
    config = load_settings(TrainConfig, str(file), {"out": "nowhere"})
    model = load_checkpoint(resolve_weights("demo").path)
    assert _model_config(config, len(model.categories)) == model.config
    assert resolve_weights("demo").path.stat().st_size <= 16_000_000
