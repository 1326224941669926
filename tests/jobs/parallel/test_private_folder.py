"""Folders for temporary files, and what another user of the machine can do to them."""

import os
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from types import ModuleType
from typing import IO

import pytest

from jobs.parallel.private_folder import kill_users, private_folder
from jobs.rendering.atomic_file import AtomicFile
from tests import other_user

LONGEST_OF_RAY = "/r/session_2026-11-30_10-55-24_562180_1234567/sockets/plasma_store"


def first_line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def test_another_user_reaches_nothing_of_ray(ray: ModuleType) -> None:
    other_user.require_root()
    assert other_user.can("cat /proc/version")
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    log = next((session / "logs").glob("*.log"))
    store = session / "sockets" / "plasma_store"
    assert log.read_text()
    assert store.is_socket()
    assert not other_user.can('cat "$1"', log)
    assert not other_user.can('mv "$1" "$1-stolen"', store)
    assert not other_user.can('test -e "$1"', store)
    assert not other_user.can('touch "$1/planted"', session)
    assert not other_user.can('ls "$1"', session.parents[1])
    assert store.is_socket()


def test_another_user_reaches_nothing_in_a_private_folder_however_open_it_is() -> None:
    other_user.require_root()
    with private_folder() as folder:
        inside = folder / "inside"
        inside.mkdir()
        (inside / "file").write_text("secret")
        inside.chmod(0o777)
        (inside / "file").chmod(0o666)
        assert not other_user.can('cat "$1"', inside / "file")
        assert not other_user.can('echo forged >"$1"', inside / "file")
        assert not other_user.can('rm "$1"', inside / "file")
        assert not other_user.can('ls "$1"', folder)
        assert (inside / "file").read_text() == "secret"


def test_another_user_does_not_see_a_video_on_its_way_to_s3() -> None:
    other_user.require_root()
    with AtomicFile(f"s3://bucket/{uuid.uuid4().hex}.mp4") as file:
        file.path.write_bytes(b"frames")
        assert not other_user.can('cat "$1"', file.path)
        assert not other_user.can('ls "$1"', file.path.parent)
    assert not file.path.parent.exists()


def test_the_folder_of_another_user_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock is a link to a file of ours, so that the folder looks like one of ours."""
    other_user.require_root()
    with private_folder() as base:
        monkeypatch.setattr(tempfile, "tempdir", str(base))
        (base / "own").write_text("")
        foreign = base / "fcos-tmp-foreign"
        foreign.mkdir()
        (foreign / "lock").symlink_to(base / "own")
        other_user.give_away(foreign)
        with private_folder():
            assert foreign.is_dir()


def test_a_lock_that_leads_elsewhere_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with private_folder() as base:
        monkeypatch.setattr(tempfile, "tempdir", str(base))
        (base / "own").write_text("")
        folder = base / "fcos-tmp-linked"
        folder.mkdir()
        (folder / "lock").symlink_to(base / "own")
        with private_folder():
            assert folder.is_dir()


@pytest.mark.parametrize("length", range(23, 34))
def test_sockets_of_ray_fit_beside_every_folder_for_temporary_files(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with private_folder() as base:
        parent = f"{base}/".ljust(length, "p")
        Path(parent).mkdir(exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", parent)
        with private_folder(for_sockets=True) as folder:
            assert len(os.fsencode(folder)) + len(LONGEST_OF_RAY) <= 107


def test_private_folder_goes_at_the_end_and_is_short(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(deep))
        with private_folder(for_sockets=True) as folder:
            assert folder.is_dir()
            assert len(str(folder)) < 50
    assert not folder.exists()


def test_folder_of_a_killed_session_goes_and_that_of_a_live_one_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with private_folder() as base:
        monkeypatch.setattr(tempfile, "tempdir", str(base))
        code = (
            "import os, signal, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
            "from jobs.parallel.private_folder import kill_users, private_folder\n"
            "with private_folder() as folder:\n"
            "    print(folder, flush=True)\n"
            "    sys.stdin.read()\n"
        )
        sessions = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(base)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        folders = [Path(first_line(session.stdout)) for session in sessions]
        sessions[0].kill()
        sessions[0].wait()
        assert folders[0].is_dir()
        with private_folder():
            assert not folders[0].exists()
            assert folders[1].is_dir()
        sessions[1].communicate("")
        assert not folders[1].exists()
        sessions[0].communicate()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_only_users_of_a_private_folder_are_ended() -> None:
    code = "import sys; sys.stdin.read()"
    with private_folder() as folder, private_folder() as other:
        users = [
            subprocess.Popen(
                [sys.executable, "-c", code, f"--logs={path}/logs"], stdin=subprocess.PIPE
            )
            for path in (folder, other)
        ]
        kill_users(folder)
        assert users[0].wait(10) == -signal.SIGKILL
        assert users[1].poll() is None
        for user in users:
            user.communicate()
