"""A deadline on a clock that people and time servers set would pass by itself, or never."""

import ast

from tests.commands import ROOT

# Whether a file has changed a moment ago is told by the clock that stamps files.
STAMPS_OF_FILES = "jobs/storage/local.py"
WALL_CLOCKS = {("time", "time"), ("time", "time_ns"), ("datetime", "utcnow"), ("datetime", "today")}


def test_only_monotonic_clocks_measure_how_long_something_takes() -> None:
    found: list[str] = []
    packages = [sorted((ROOT / name).rglob("*.py")) for name in ("jobs", "fcos_core")]
    assert all(packages)
    for path in (path for package in packages for path in package):
        if path == ROOT / STAMPS_OF_FILES:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if (node.value.id, node.attr) in WALL_CLOCKS:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
            elif isinstance(node, ast.ImportFrom) and node.module == "time":
                found += [f"{path}:{node.lineno}" for name in node.names if name.name == "time"]
    assert not found
