"""The field's words and the sizes of files: no old name comes back, and no room grows too full."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import ROOT

PACKAGES = ("fcos_core", "jobs", "cluster")
MAX_LINES = 400
MAX_FILES = 18

JOBS = (
    "bpr console demo detect evaluate pipeline printable progress render report train verify "
    "waiting"
)
ROOMS = (
    "annotations assets cli dispatch html inputs media parallel planning rendering reporting "
    "rundir scoring settings storage synthetic training worker"
)

# A room, and the names of modules that are not to be in it nor below it.
OLD_MODULES = {
    "": "crew patience examination guilty rehearsal rehearse surroundings locating draft draw_up "
    "block_tasks handing_out later_attempt",
    "jobs": "losses room scratch recording resolving asked opening commits",
    "jobs/dispatch": "losses suspects hire",
    "jobs/inputs": "fetch",
    "jobs/media/video": "exact choice",
    "jobs/parallel": "died",
    "jobs/rendering": "expected writing looks orders fates",
    "jobs/reporting": "gathering",
    "jobs/rundir": "sealed gathering detected",
    "jobs/training": "record recorder starting curves",
    "jobs/worker": "loading ahead commits",
}

# A room, and the names of classes and functions that are not to be in it nor below it.
OLD_NAMES = {
    "": "Crew Crewman Patience Examination Draft Died hire hear dismiss rehearse draw_up "
    "map_deadly_blocks",
    "jobs/dispatch": "Loss loss_of _Member Member Room arrive",
    "jobs/inputs": "locating",
    "jobs/planning": "begin asked",
    "jobs/rendering": "Look Order Fate",
}

OLD_WORDS = (
    "picture pictures crew crewman patience whoever guilty examination rehearsal rehearse "
    "rehearsed surroundings deadly"
)
"""Words that are no part of any identifier or file name."""


def modules(room: str) -> list[Path]:
    """All modules of a room, or of the three packages."""
    folders = [ROOT / room] if room else [ROOT / name for name in PACKAGES]
    found = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    assert found, f"{room} has no modules"
    return found


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """All names that a module gives or uses, with their lines."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield node.name, node.lineno
            case ast.Name():
                yield node.id, node.lineno
            case ast.Attribute():
                yield node.attr, node.lineno
            case ast.arg() | ast.keyword():
                yield node.arg or "", node.lineno
            case _:
                pass


def words(name: str) -> set[str]:
    """The words of a name in snake case or camel case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


@pytest.mark.parametrize("room", OLD_MODULES, ids=lambda room: room or "everywhere")
def test_no_module_has_an_old_name(room: str) -> None:
    old = set(OLD_MODULES[room].split())
    assert [str(path.relative_to(ROOT)) for path in modules(room) if path.stem in old] == []


@pytest.mark.parametrize("room", OLD_NAMES, ids=lambda room: room or "everywhere")
def test_no_class_or_function_has_an_old_name(room: str) -> None:
    old = set(OLD_NAMES[room].split())
    found: list[str] = []
    for path in modules(room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_definition = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if is_definition and node.name in old:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}")
    assert found == []


def test_no_identifier_or_file_name_has_an_old_word() -> None:
    old = set(OLD_WORDS.split())
    found: list[str] = []
    for path in modules(""):
        place = path.relative_to(ROOT)
        found += [str(place)] if words(place.as_posix()) & old else []
        for name, line in identifiers(ast.parse(path.read_text(encoding="utf-8"))):
            if words(name) & old:
                found.append(f"{place}:{line}: {name}")
    assert found == []


def test_no_file_is_too_long_to_have_one_subject() -> None:
    folders = [ROOT / name for name in (*PACKAGES, "tests", "benchmarks")]
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in folders
        for path in folder.rglob("*.py")
    }
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_no_folder_has_too_many_files_of_its_own() -> None:
    counts: dict[str, int] = {}
    for name in (*PACKAGES, "tests", "benchmarks"):
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                folder = str(path.parent.relative_to(ROOT))
                counts[folder] = counts.get(folder, 0) + 1
    assert {folder: count for folder, count in counts.items() if count > MAX_FILES} == {}


def test_jobs_holds_the_known_jobs_and_packages() -> None:
    entries = [path for path in (ROOT / "jobs").iterdir() if path.name != "__pycache__"]
    assert {path.stem for path in entries if path.is_file()} == {"__init__", *JOBS.split()}
    assert {path.name for path in entries if path.is_dir()} == set(ROOMS.split())
