"""Folders of images that grow, change and lose some, and the commands that follow them."""

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

import jobs.planning.begin as begin_module
from jobs.cli.commands import main
from jobs.detect import DetectConfig, DetectResult, run
from jobs.parallel.resources import probe
from jobs.planning.begin import begin_run, plan_run
from jobs.planning.manifest import PlannedItems
from jobs.planning.model_card import read_model_card
from jobs.rundir.directory import RunDirectory

NUM_FIRST = 12
ADDED = [f"{i:02d}.png" for i in range(NUM_FIRST, NUM_FIRST + 6)]
CHANGED, REMOVED = "03.png", "07.png"
SHARD_SIZE = 4


def write_image(path: Path, *, seed: int, size: tuple[int, int] = (64, 48)) -> None:
    """Write a small image, blurred so that the tiny model finds something."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    assert cv2.imwrite(str(path), cv2.GaussianBlur(pixels, (7, 7), 2))


def write_first(folder: Path, count: int = NUM_FIRST) -> Path:
    """Write the images of which a run is begun."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        write_image(folder / f"{i:02d}.png", seed=i)
    return folder


def add(folder: Path, names: Iterable[str] = ADDED) -> None:
    """Add images."""
    for name in names:
        write_image(folder / name, seed=int(Path(name).stem))


def grow(folder: Path) -> None:
    """Add six images, change one (other pixels, another size), and move one out."""
    add(folder)
    write_image(folder / CHANGED, seed=99, size=(40, 56))
    (folder / REMOVED).rename(folder.parent / REMOVED)


def config_of(inputs: Path | str, weights: Path, out: Path | str, **changes: Any) -> DetectConfig:
    """The command that begins a run of small shards, and resumes or extends it."""
    settings: dict[str, Any] = {
        "shard_size": SHARD_SIZE,
        "batch_size": 2,
        "threads_per_actor": 1,
        "num_actors": 1,
        "engine": "eager",  # the others take a second to be made
    }
    return DetectConfig(
        inputs=(str(inputs),), out=str(out), weights=str(weights), **(settings | changes)
    )


def command_of(config: DetectConfig, *options: str) -> list[str]:
    """The same as the words of a shell."""
    return [
        *("detect", *config.inputs, "--out", config.out, "--weights", config.weights),
        *("--shard-size", str(config.shard_size), "--batch-size", str(config.batch_size)),
        *("--threads-per-actor", "1", "--num-actors", str(config.num_actors)),
        *("--engine", config.engine, *options),
    ]


def changed(config: DetectConfig, **changes: Any) -> DetectConfig:
    return DetectConfig(**{**config.model_dump(), **changes})


def detected(config: DetectConfig, **changes: Any) -> DetectResult:
    """Run the command in this process."""
    result = run(changed(config, **changes))
    assert isinstance(result, DetectResult)
    return result


def said(capsys: Any, *arguments: object) -> tuple[int, dict[str, Any], str]:
    """Run a command as a shell does: its exit code, its line of JSON, and what it says."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, json.loads(out.splitlines()[-1]) if out else {}, err


def files_of(run_uri: str) -> dict[str, bytes]:
    """All files of a run on this machine."""
    return {str(path): path.read_bytes() for path in Path(run_uri).rglob("*") if path.is_file()}


def annotate(path: Path, names: Iterable[str], **ids_of: int) -> Path:
    """Write a COCO file with a box in each image, which has its number and 100 as its id."""
    names = sorted(names)
    ids = {name: ids_of.get(f"_{Path(name).stem}", 100 + int(Path(name).stem)) for name in names}
    document = {
        "images": [
            {"id": ids[name], "file_name": name, "width": 64, "height": 48} for name in names
        ],
        "annotations": [
            {"id": n + 1, "image_id": ids[name], "category_id": (3, 7, 11)[n % 3]}
            | {"bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0}
            for n, name in enumerate(names)
        ],
        "categories": [{"id": id_, "name": f"thing_{id_}"} for id_ in (3, 7, 11)],
    }
    path.write_text(json.dumps(document))
    return path


def begin_in_parts(config: DetectConfig, *, items_per_part: int = 7) -> RunDirectory:
    """Begin a run whose manifest has several parts of a few items each."""
    directory = RunDirectory(config.out)
    with patch.object(
        begin_module, "PlannedItems", partial(PlannedItems, items_per_part=items_per_part)
    ):
        plan = plan_run(config, read_model_card(config.weights), lambda: probe(None))
        with plan.planned:
            begin_run(directory, plan)
    assert len(directory.manifest().parts) > 1
    return directory
