"""What another user of the machine can do to our files."""

import os
import subprocess
from pathlib import Path

import pytest

_NOBODY = 65534


def require_root() -> None:
    """Skip a test that must become another user, where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")


def can(command: str, *paths: object) -> bool:
    """Whether a command of the shell succeeds for another user, with the paths as $1, $2, ..."""
    done = subprocess.run(
        ["/bin/sh", "-c", command, "sh", *map(str, paths)],
        user=_NOBODY,
        group=_NOBODY,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def give_away(path: Path) -> None:
    """Make a file, a link or a folder another user's."""
    os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
