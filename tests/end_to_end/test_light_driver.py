"""What the process of a command imports: no torch, torchvision or pandas, which cost seconds.

Only workers, and child processes where nothing else helps, need them.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from jobs.parallel.devices import may_have_gpu
from tests.commands import CANNOT_WORK, Answer, run_python
from tests.fcos_core.models import torchvision_state_dict
from tests.jobs.cli.test_commands import annotate

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(may_have_gpu(), reason="a driver asks torch for the GPUs"),
]

LISTING = """
import os, pathlib, sys
from jobs.cli.commands import main
code = main()
wanted = {"torch", "torchvision", "pandas", "ray", "pyarrow"}
found = pathlib.Path(os.environ["LISTING"], str(os.getpid()))
found.write_text("\\n".join(sorted(wanted & sys.modules.keys())))
sys.exit(code)
"""
"""Does what ``fcos`` does, and then lists modules; the guard of a command is a process too."""


def imported(tmp_path: Path, *arguments: object) -> tuple[Answer, set[str]]:
    """Run ``fcos`` with these arguments; return what it and the process of its work imported."""
    folder = tmp_path / "imported"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    answer = run_python("-c", LISTING, *arguments, environment={"LISTING": str(folder)})
    lists = [set(path.read_text().split()) for path in folder.iterdir()]
    assert lists, answer.stderr
    return answer, set[str]().union(*lists)


def test_a_run_and_its_resumption_import_no_torch(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    words = ("detect", images, "--out", tmp_path / "run", "--weights", tiny_weights)
    options = ("--num-actors", "1", "--threads-per-actor", "1", "--shard-size", "7")
    dry, modules = imported(tmp_path, *words, *options, "--dry-run")
    assert (dry.result()["items_planned"], modules) == (20, {"pyarrow"})
    first, modules = imported(tmp_path, *words, *options)
    assert (first.result()["missing"], modules) == (0, {"pyarrow", "ray"})
    shard = next((tmp_path / "run" / "detections").rglob("shard-*.parquet"))
    shard.unlink()
    resumed, modules = imported(tmp_path, *words, *options)
    assert (resumed.result()["digest"], modules) == (first.result()["digest"], {"pyarrow", "ray"})
    done, modules = imported(tmp_path, *words, *options)
    assert (done.result()["digest"], modules) == (first.result()["digest"], {"pyarrow"})


@pytest.mark.slow
def test_a_whole_job_imports_no_torch(tmp_path: Path, images: Path, tiny_weights: Path) -> None:
    annotations = annotate(tmp_path, images)
    words = ("run", images, "--annotations", annotations, "--out", tmp_path / "run")
    options = ("--weights", tiny_weights, "--num-actors", "1", "--threads-per-actor", "1")
    answer, modules = imported(tmp_path, *words, *options)
    assert answer.result()["missing"] == 0
    assert modules == {"pyarrow", "ray"}


@pytest.mark.slow
def test_the_demo_imports_no_torch(tmp_path: Path) -> None:
    sizes = ("--num-images", "4", "--num-frames", "4", "--num-actors", "1")
    answer, modules = imported(tmp_path, "demo", "--out", tmp_path / "demo", *sizes)
    assert answer.result()["missing"] == 0
    assert modules == {"pyarrow", "ray"}


def a_state_dict_of_torchvision(path: Path) -> None:
    torch.save(torchvision_state_dict(num_classes=3, size=64), path)


def a_checkpoint_that_is_cut(path: Path) -> None:
    a_state_dict_of_torchvision(path)
    path.write_bytes(path.read_bytes()[:-1000])


def a_list(path: Path) -> None:
    torch.save([1], path)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (a_state_dict_of_torchvision, None),
        (a_checkpoint_that_is_cut, "cannot be read with weights_only=True: "),
        (a_list, "a list, must be a state dict"),
    ],
)
def test_another_process_reads_what_needs_torch(
    tmp_path: Path, images: Path, make: Callable[[Path], None], expected: str | None
) -> None:
    weights = tmp_path / "weights.pth"
    make(weights)
    words = ("detect", images, "--out", tmp_path / "run", "--weights", weights, "--dry-run")
    answer, modules = imported(tmp_path, *words)
    assert not modules & {"torch", "torchvision", "pandas"}
    if expected is None:
        assert answer.result()["preset"] == "torchvision"
    else:
        assert answer.code == CANNOT_WORK
        assert answer.error.startswith(f"checkpoint {weights}: {expected}")
        assert "Traceback" not in answer.stderr  # a slow machine says what it waits for, too
