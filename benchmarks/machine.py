"""The machine and versions of a measurement, for the head of every page of results."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jobs.parallel.cores import num_cores
from jobs.parallel.devices import device_model

_GIB = 2**30


def commit() -> str:
    """The commit that is measured, marked where the tree differs from it."""
    here = Path(__file__).parent
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607 (git of the PATH)
        cwd=here, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return described.stdout.strip() or "of unknown commit"


def hardware() -> str:
    """Cores and their model."""
    return f"{num_cores()} cores of {device_model('cpu')}"


def circumstances(command: str, packages: Sequence[str], rows: Sequence[tuple[str, str]]) -> str:
    """The table at the head of a page.

    Args:
        command: that was given.
        packages: whose versions matter.
        rows: what else matters.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    table = [
        ("date", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("command", f"`{command}`"),
        ("hardware", f"{hardware()}, {memory:.0f} GiB of memory"),
        (
            "system",
            f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        ),
        ("versions", f"fcos-batch {commit()}, {versions}"),
        *rows,
    ]
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in table)


def page_name(subject: str) -> str:
    """Name a page of results by date, hardware and subject."""
    slug = re.sub(r"[^a-z0-9]+", "-", hardware().lower()).strip("-")
    return f"{datetime.now(UTC):%Y-%m-%d}_{slug}_{subject}.md"
