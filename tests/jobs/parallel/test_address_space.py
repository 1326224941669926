"""Where virtual memory is limited or memory is lacking, one line says so, with the right code."""

import errno
import signal
import sys
from pathlib import Path

import pytest
import typer

from fcos_core.errors import ConfigError
from jobs.cli.output import EXIT_CANNOT_WORK, exit_codes
from jobs.parallel import address_space, ray_session
from tests.commands import Answer, run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")

PROGRAM = """
import os, resource, signal, sys
import typer
from jobs.cli.output import exit_codes
from jobs.parallel.guard import done, guarded

resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))

def command():
    {body}

try:
    with exit_codes():
        code = guarded(command)
except typer.Exit as error:
    code = error.exit_code
sys.exit(code)
"""


def answer(body: str, *, limit_gib: int) -> Answer:
    return run_python("-c", PROGRAM.format(body=body, limit=limit_gib << 30), timeout_s=60)


@pytest.mark.command
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("os.abort()", "has died of SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "has died of SIGSEGV"),
        ("os._exit(1)", "has ended without a word"),
        ("return bytearray(20 << 30)", "out of memory (MemoryError)"),
    ],
)
def test_a_crash_under_a_limit_is_one_line_that_names_the_limit(body: str, reason: str):
    done = answer(body, limit_gib=6)
    assert done.code == EXIT_CANNOT_WORK
    assert reason in done.error
    assert "virtual memory is limited to 6.0 GiB (ulimit -v); set it to unlimited, or to 8 GiB" in (
        done.error
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.command
def test_a_crash_under_a_limit_that_is_large_is_passed_on():
    assert answer("os.abort()", limit_gib=500).code == -signal.SIGABRT


@pytest.mark.command
def test_a_crash_of_work_that_is_done_is_passed_on_under_a_limit_too():
    assert answer("done(0); os.abort()", limit_gib=6).code == -signal.SIGABRT


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_space, "limit_bytes", lambda: 6 << 30)


@pytest.mark.usefixtures("limited")
def test_ray_is_not_started_where_it_would_crash_or_hang():
    message = r"Ray cannot be started: .* limited to 6.0 GiB"
    with pytest.raises(ConfigError, match=message), ray_session._session(None, 1):
        pass


def code_of(error: Exception) -> int:
    with pytest.raises(typer.Exit) as ended, exit_codes():
        raise error
    return ended.value.exit_code


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        RuntimeError("[enforce fail]\n DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_memory_that_is_refused_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]):
    assert code_of(error) == EXIT_CANNOT_WORK
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory (")
    assert "limited to 6.0 GiB" in line


def test_without_a_limit_only_plain_lack_of_memory_is_said_to_be_that(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(address_space, "limit_bytes", lambda: None)
    assert code_of(MemoryError("of 7 GB")) == EXIT_CANNOT_WORK
    assert capsys.readouterr().err == "error: out of memory (of 7 GB)\n"
    with pytest.raises(RuntimeError), exit_codes():
        raise RuntimeError("can't start new thread")  # a bug of ours, with its traceback


@pytest.mark.command
@pytest.mark.parametrize("limit_gib", [4, 6])
def test_detect_under_a_low_limit_ends_with_one_line(
    tmp_path: Path, tiny_weights: Path, limit_gib: int
):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    limit = f"{limit_gib} << 30"
    done = run_python(
        "-c",
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
        "from jobs.cli import main; sys.exit(main())",
        *("detect", tmp_path / "a.jpg", "--out", tmp_path / "run", "--weights", tiny_weights),
        timeout_s=120,
    )
    assert done.code == EXIT_CANNOT_WORK
    assert f"virtual memory is limited to {limit_gib}.0 GiB (ulimit -v)" in done.error
