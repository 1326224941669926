"""The wheel as users install it: on every Python at hand, without constraints.txt."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).parent / "uv"
INSTALL_TIMEOUT_S = 900  # Torch for CUDA is gigabytes.
DEMO_TIMEOUT_S = 300

pytestmark = pytest.mark.install

# They would point an installer or an interpreter at this checkout or at pinned versions, or let
# each of Ray's processes compile torch again.
_OURS = {
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHOME",
    "PYTHONPATH",
    "PIP_CONSTRAINT",
    "UV_CONSTRAINT",
    "VIRTUAL_ENV",
}


def pythons() -> dict[str, Path]:
    """Interpreters from 3.11 on: the one that runs, those on the path, and those of pyenv."""
    name = "bin/python3"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    on_path = (shutil.which(f"python3.{minor}") for minor in range(11, 20))
    found: dict[str, Path] = {}
    for python in (
        Path(sys.base_prefix) / name,
        *(Path(path) for path in on_path if path),
        *sorted((pyenv / "versions").glob(f"3.*/{name}")),
    ):
        asked = subprocess.run(
            [
                python,
                "-c",
                "import sys; print(sys.version_info >= (3, 11), *sys.version_info[:2], sep='.')",
            ],
            capture_output=True,
            text=True,
            check=False,
        )  # pyenv puts a program on the path that fails for versions that are not chosen
        is_new_enough, _, version = asked.stdout.strip().partition(".")
        if asked.returncode == 0 and is_new_enough == "True":
            found.setdefault(version, python)
    return found


def run(
    *command: object, cwd: Path, timeout_s: float, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command that must succeed, and return what it wrote on stdout."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name not in _OURS}
        | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--wheel", "--out-dir", folder, ROOT, cwd=folder, timeout_s=INSTALL_TIMEOUT_S)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(params=pythons().items(), ids=lambda item: f"python{item[0]}")
def clean_environment(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Path]:
    """A new environment of one Python; it holds gigabytes, so it is gone after the test."""
    _, python = request.param
    folder = tmp_path / "environment"
    run(UV, "venv", "--python", python, folder, cwd=tmp_path, timeout_s=INSTALL_TIMEOUT_S)
    yield folder
    shutil.rmtree(folder)


def test_the_wheel_runs_the_demo_in_a_clean_environment(
    wheel: Path, clean_environment: Path, tmp_path: Path
) -> None:
    run(
        *(UV, "pip", "install", "--python", clean_environment / "bin/python", wheel),
        cwd=tmp_path,
        timeout_s=INSTALL_TIMEOUT_S,
    )
    out = run(
        *(clean_environment / "bin/fcos", "demo", "--num-images", 8, "--num-frames", 8),
        *("--out", tmp_path / "run"),
        cwd=tmp_path,
        timeout_s=DEMO_TIMEOUT_S,
    )
    result = json.loads(out.splitlines()[-1])
    assert (result["planned"], result["missing"], result["quarantined"]) == (16, 0, 0)
    assert (tmp_path / "run-drawings/videos").is_dir()
