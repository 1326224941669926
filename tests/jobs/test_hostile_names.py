"""Names that would steer a terminal, forge a line, or be markup go through every command."""

import contextlib
import json
import os
import pty
import re
import sys
import traceback
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from fcos_core import FCOS, Category, save_checkpoint
from jobs.cli import main
from jobs.cli.output import write_warning
from jobs.cli.streams import LastingOutput, PrintableStream
from jobs.cli.tables import show_videos
from jobs.html.formats import visible
from jobs.printable import printable
from jobs.progress import ProgressReport
from tests.jobs.tiny_model import tiny_model
from tests.jobs.training.small import small_settings

NAMES = (
    "\x1b[2J\x1b]0;owned\x07.png",
    "line\nerror: forged.png",
    "carriage\rreturn.png",
    "tab\t.png",
    "'single' and \"double\".png",
    "<script>alert(1)&amp;.png",
    "{}{0}%s%d$(id).png",
    "\u202egnp.exe\u2066.png",
    "-rf.png",
    " two  spaces .png",
    "a#b?c%41*[d].png",
    "[bold]markup[red].png",
    "\N{SLIGHTLY SMILING FACE}é漢字.png",
    "\x9b31m\x7f\u2028\u200b.png",
    "x" * 251 + ".png",
)
BROKEN = NAMES[:6]
CLASSES = ("plain", "\x1b[31m<b>\u202ered\n", "%s {0} & 'x'")
ORDINARY = "\N{SLIGHTLY SMILING FACE}é漢字.png"


def write_dataset(folder: Path) -> tuple[Path, Path]:
    """Images and a COCO file; those of BROKEN cannot be decoded, and have no boxes."""
    images = folder / "images"
    images.mkdir()
    random = np.random.default_rng(3)
    entries: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for i, name in enumerate(NAMES):
        png = cv2.imencode(".png", random.integers(0, 256, (48, 64, 3), np.uint8))[1].tobytes()
        (images / name).write_bytes(png[:40] if name in BROKEN else png)
        entries.append({"id": i, "file_name": name, "width": 64, "height": 48})
        if name not in BROKEN:
            box = {"image_id": i, "bbox": [4, 4, 40, 30], "area": 1200, "iscrowd": 0}
            boxes.append(box | {"id": i + 1, "category_id": (3, 7, 11)[i % 3]})
    classes = [{"id": i, "name": name} for i, name in zip((3, 7, 11), CLASSES, strict=True)]
    path = folder / "annotations.json"
    path.write_text(json.dumps({"images": entries, "annotations": boxes, "categories": classes}))
    return images, path


def save_model(folder: Path) -> Path:
    classes = [Category(id=i, name=name) for i, name in zip((3, 7, 11), CLASSES, strict=True)]
    model = tiny_model()
    named = FCOS(model.config, classes)
    named.load_state_dict(model.state_dict())
    path = folder / "hostile.safetensors"
    save_checkpoint(path, named)
    return path


def answer_of(capsys: pytest.CaptureFixture[str], arguments: Sequence[object], code: int) -> Any:
    """Run a command; what it says is lines that can be printed, its result ASCII."""
    ended = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert ended == code, err
    assert all(line.isprintable() for line in err.split("\n")), repr(err)
    assert "\nerror: forged" not in err
    if not out:
        return err
    (line,) = out.splitlines()
    assert line.isascii()
    assert line.isprintable()
    return json.loads(line)


def inert_page(path: Path) -> str:
    """A page in which no name is markup, and no character turns the text around."""
    text = path.read_bytes().decode()
    assert visible(text) == text
    assert "<script>alert" not in text
    assert "31m<b>" not in text
    return text


def test_hostile_names_reach_the_tables_unchanged_and_no_line_page_or_path_as_they_are(
    ray: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del ray
    images, annotations = write_dataset(tmp_path)
    weights, run = save_model(tmp_path), tmp_path / "run"

    def answer(*arguments: object, code: int = 0) -> Any:
        return answer_of(capsys, arguments, code)

    detect = ("detect", images, "--weights", weights, "--num-actors", 1, "--score-threshold", 0.01)
    answer(*detect, "--out", run, "--dry-run")
    assert answer(*detect, "--out", run)["quarantined"] == len(BROKEN)
    (shard,) = (run / "detections").rglob("shard-*.parquet")
    rows = pq.read_table(shard).to_pylist()
    assert {Path(row["uri"]).name for row in rows} == set(NAMES)
    assert answer("verify", run)["ok"] == len(NAMES) - len(BROKEN)
    assert answer("evaluate", run, "--annotations", annotations)["AP"] >= 0
    answer("bpr", annotations, "--run", run)
    answer("report", run)
    page = inert_page(run / "report" / "index.html")
    assert escape("[31m<b>\ufffdred") in page
    assert escape(NAMES[6]) in page
    drawn, targets = tmp_path / "drawn", tmp_path / "targets"
    answer("render", run, "--out", drawn, "--min-score", 0.01, "--num-actors", 1)
    answer("render", "--targets", annotations, "--image-root", images, "--out", targets)
    pages = list(targets.glob("*.html"))
    texts = [inert_page(path) for path in pages]
    assert any(escape("[31m<b>\ufffdred") in text for text in texts)
    inside = [str(path.relative_to(tmp_path)) for path in (*drawn.rglob("*"), *pages)]
    assert len(inside) == 2 * (len(NAMES) - len(BROKEN) + 1)
    assert all(path.isprintable() for path in inside)
    assert answer(*detect, "--out", run, "--max-bad", 1, code=3)["quarantined"] == len(BROKEN)


def test_a_training_names_hostile_images_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, annotations = write_dataset(tmp_path)
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        yaml.safe_dump(small_settings(annotations, tmp_path / "out", steps=9, batch_size=10))
    )
    said = answer_of(capsys, ("train", "--config", settings), 2)
    assert any(printable(name) in said for name in BROKEN)


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_is_not_there_is_named_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, out = tmp_path / name, tmp_path / "out"
    commands = (
        ("detect", missing, "--out", out, "--weights", "demo"),
        ("detect", tmp_path, "--out", out, "--weights", missing),
        ("verify", missing),
        ("evaluate", missing, "--annotations", missing),
        ("bpr", missing, "--out", out),
        ("report", missing),
        ("render", missing, "--out", out),
        ("train", "--config", missing),
        ("detect", "--device", name),
    )
    for command in commands:
        said = answer_of(capsys, command, 2)
        assert said.startswith("error: ")
        assert said.count("\n") == 1


def test_a_usual_name_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert ORDINARY in answer_of(capsys, ("verify", ORDINARY), 2)


@pytest.mark.parametrize("is_own_process", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_bar_on_a_terminal_moves_the_cursor_and_no_name_does(
    name: str, *, is_own_process: bool
) -> None:
    text = shown_on_a_terminal(name, is_own_process=is_own_process)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", "", text)
    assert "\x1b[?25l" in text, "the bar hides the cursor"
    assert plain.isprintable(), repr(text)
    for foreign in ("\x1b[2J", "\x1b]0;", "\x9b", "\u202e"):
        assert foreign not in text


def shown_on_a_terminal(name: str, *, is_own_process: bool) -> str:
    """What a terminal gets of a line, a note, a table and a warning with this name.

    A process that is a command has a stderr that also escapes what others write, such as Python.
    """
    master, slave = pty.openpty()
    read = bytearray()
    if is_own_process:
        stream = PrintableStream(LastingOutput(slave, 5.0), "utf-8")
    else:
        stream = os.fdopen(slave, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with ProgressReport(8, 0, stream=stream, line_every_s=60) as progress:
            progress.write(name)
            progress.add(rows=1, note=name)
            read += os.read(master, 1 << 16)
        video = {"video": name, "frames": 1, "quarantined": 0, "missing": 0, "frames_per_s": 1.0}
        show_videos({"per_video": [video], "videos": 1})
        write_warning(UserWarning(name), UserWarning)
        if is_own_process:
            traceback.print_exception(ValueError(name))
    stream.flush()
    os.set_blocking(master, False)
    with contextlib.suppress(BlockingIOError):
        read += os.read(master, 1 << 16)
    stream.close()
    os.close(slave)
    os.close(master)
    return read.decode(errors="replace")
