"""Damaged inputs of every kind through the command: one clear line and the right code for each."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# pyarrow has no types

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import commands
from tests.commands import CANNOT_WORK, DONE
from tests.fuzz.conftest import SEED, cases
from tests.fuzz.in_process import fcos, require_sound
from tests.fuzz.json_documents import change
from tests.fuzz.mutations import mutate

NUM_IMAGES = 4
CATEGORIES = (3, 7, 11)
TRUTH: dict[str, Any] = {
    "images": [
        {"id": 100 + i, "file_name": f"{i}.jpg", "width": 64 + i, "height": 48}
        for i in range(NUM_IMAGES)
    ],
    "annotations": [
        {
            "id": i,
            "image_id": 100 + i % NUM_IMAGES,
            "category_id": CATEGORIES[i % 3],
            "bbox": [4.5, 4, 20, 20.25],
            "area": 400.5,
            "iscrowd": int(i == 5),
        }
        for i in range(6)
    ],
    "categories": [{"id": id_, "name": f"thing_{id_}"} for id_ in CATEGORIES],
}
RESULTS = [
    {
        "image_id": 100 + i % NUM_IMAGES,
        "category_id": CATEGORIES[i % 3],
        "bbox": [4.5, 4, 20, 20.25],
        "score": 0.25 * (i % 4),
    }
    for i in range(8)
]

Command = Callable[[Path, Path], tuple[object, ...]]


@pytest.fixture
def place(tmp_path: Path, tiny_weights: Path) -> Path:
    """A folder with small images, sound annotations and results, and a checkpoint."""
    (tmp_path / "images").mkdir()
    for i in range(NUM_IMAGES):
        pixels = np.random.default_rng(i).integers(0, 256, (48, 64 + i, 3), np.uint8)
        assert cv2.imwrite(str(tmp_path / "images" / f"{i}.jpg"), pixels)
    (tmp_path / "truth.json").write_text(json.dumps(TRUTH))
    (tmp_path / "results.json").write_text(json.dumps(RESULTS))
    (tmp_path / "tiny.safetensors").symlink_to(tiny_weights)
    return tmp_path


def run_cases(
    file: Path, count: int, make: Callable[[np.random.Generator, int], bytes], *command: object
) -> None:
    """Run a command on many versions of a file; at least one must be refused."""
    codes: list[int] = []
    for number in range(count):
        data = make(np.random.default_rng([SEED, number]), number)
        file.write_bytes(data)
        try:
            answer = fcos(*command)
            require_sound(answer)
        except BaseException as error:
            error.add_note(f"case {number} of seed {SEED}: {data[:2000]!r}")
            raise
        codes.append(answer.code)
    assert CANNOT_WORK in codes
    assert set(codes) <= {DONE, CANNOT_WORK}


def json_maker(document: Any) -> Callable[[np.random.Generator, int], bytes]:
    """Make three changed documents and then one whose bytes are damaged."""
    text = json.dumps(document).encode()

    def make(random: np.random.Generator, number: int) -> bytes:
        return mutate(text, [text], random) if number % 4 == 3 else change(document, random)

    return make


def byte_maker(*sources: bytes) -> Callable[[np.random.Generator, int], bytes]:
    """Damage files in turn, with parts of each other."""

    def make(random: np.random.Generator, number: int) -> bytes:
        return mutate(sources[number % len(sources)], sources, random)

    return make


def planning(place: Path, *rest: object) -> tuple[object, ...]:
    """Plan a run, which reads all of its inputs and needs no Ray."""
    weights = ("--weights", place / "tiny.safetensors")
    return "detect", *rest, "--dry-run", "--out", place / "RUN", *weights, "--num-actors", "1"


ABOUT_ANNOTATIONS: dict[str, Command] = {
    "bpr": lambda place, file: ("bpr", file, "--num-actors", 1, "--out", place / "bpr.json"),
    "bpr that skips": lambda place, file: (
        *("bpr", file, "--num-actors", 1, "--out", place / "bpr.json", "--skip-invalid"),
    ),
    "evaluate": lambda place, file: (
        *("evaluate", "--annotations", file, "--results", place / "results.json"),
        *("--num-actors", 1, "--out", place / "metrics.json"),
    ),
    "detect": lambda place, file: planning(place, file, "--image-root", place / "images"),
    "run": lambda place, file: (
        *("run", place / "images", "--annotations", file, "--dry-run", "--out", place / "RUN"),
        *("--weights", place / "tiny.safetensors"),
    ),
    "render": lambda place, file: (
        *("render", "--targets", file, "--image-root", place / "images"),
        *("--out", place / "pages"),
    ),
}


@cases(few=8, many=1_500)
@pytest.mark.parametrize("name", ABOUT_ANNOTATIONS)
def test_damaged_annotations_get_one_clear_line(count: int, name: str, place: Path):
    file = place / "case.json"
    run_cases(file, count, json_maker(TRUTH), *ABOUT_ANNOTATIONS[name](place, file))


@cases(few=8, many=1_500)
def test_damaged_results_get_one_clear_line(count: int, place: Path):
    file = place / "case.json"
    command = ("evaluate", "--annotations", place / "truth.json", "--results", file)
    out = ("--num-actors", 1, "--out", place / "metrics.json")
    run_cases(file, count, json_maker(RESULTS), *command, *out)


@cases(few=8, many=1_500)
def test_a_damaged_list_gets_one_clear_line(count: int, place: Path):
    lines = [*map(str, (place / "images").iterdir()), "images/0.jpg", "gone.jpg", "a.tar#b.jpg"]
    file = place / "case.txt"
    make = byte_maker("\n".join(["# a list", *lines]).encode())
    run_cases(file, count, make, *planning(place, file))


def parquet(**columns: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


@cases(few=10, many=1_500)
def test_a_damaged_parquet_input_gets_one_clear_line(count: int, place: Path):
    paths = sorted((place / "images").iterdir())
    images = [path.read_bytes() for path in paths]
    file = place / "case.parquet"
    make = byte_maker(
        parquet(bytes=images),
        parquet(image=[{"bytes": data, "path": "a"} for data in images]),
        parquet(uri=list(map(str, paths))),
        parquet(uri=["a", None, ""]),
        parquet(uri=[1, 2]),
    )
    run_cases(file, count, make, *planning(place, file))


def tar(images: list[bytes], layout: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=layout) as archive:
        for i, data in enumerate(images):
            member = tarfile.TarInfo("long/" * 20 * (i == 2) + f"{i}.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "0.jpg"
        archive.addfile(link)
    return stream.getvalue()


@cases(few=8, many=1_500)
def test_a_damaged_archive_gets_one_clear_line(count: int, place: Path):
    images = [path.read_bytes() for path in sorted((place / "images").iterdir())]
    layouts = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    file = place / "case.tar"
    make = byte_maker(*(tar(images, layout) for layout in layouts))
    run_cases(file, count, make, *planning(place, file))


@cases(few=8, many=1_500)
@pytest.mark.parametrize("suffix", ["yaml", "toml"])
def test_a_damaged_config_file_gets_one_clear_line(count: int, suffix: str, place: Path):
    settings = {
        "inputs": [str(place / "images")],
        "out": str(place / "RUN"),
        "weights": str(place / "tiny.safetensors"),
        "batch_size": 4,
        "num_actors": "auto",
        "score_threshold": 0.25,
        "max_bad": "5%",
        "limit": 3,
        "retry_quarantined": False,
    }
    mark = " = " if suffix == "toml" else ": "
    lines = [f"{name}{mark}{json.dumps(value)}" for name, value in settings.items()]
    by_bytes, by_values = byte_maker("\n".join(lines).encode()), json_maker(settings)

    def make(random: np.random.Generator, number: int) -> bytes:
        # YAML reads JSON; TOML does not.
        is_document = suffix == "yaml" and number % 2
        return by_values(random, number) if is_document else by_bytes(random, number)

    file = place / f"case.{suffix}"
    run_cases(file, count, make, "detect", "--config", file, "--dry-run")


TINY = ("--weights", "tiny.safetensors")


@pytest.mark.command
@pytest.mark.parametrize(
    ("name", "data", "command"),
    [
        ("case.json", b'{"images": [{"id": 1e999', ("bpr", "case.json", "--num-actors", "1")),
        ("case.yaml", b"inputs: &a [*a]\nout: RUN\n", ("detect", "--config", "case.yaml", *TINY)),
        ("case.parquet", b"PAR1\x15\x0e\x1b\x00\x00\x00PAR1", ("detect", "case.parquet", *TINY)),
    ],
)
def test_a_real_process_answers_the_same(
    name: str, data: bytes, command: tuple[str, ...], place: Path
):
    (place / name).write_bytes(data)
    done = commands.fcos(*command, "--out", "RUN", cwd=place)
    assert done.code == CANNOT_WORK
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert name in line
    assert line.isprintable()
