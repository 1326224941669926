"""A command does its work and exits with its own code, whatever its standard streams are."""

import json
import logging
import os
import pty
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.cli.output import LogLines
from jobs.cli.streams import LastingOutput
from tests.commands import CANNOT_WORK, DONE, Answer, fcos, run_python
from tests.jobs.scoring.runs import CAT_BOX, HIT, Image, make_run, write_annotations

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a shell and /dev/full")


def redirected(redirection: str) -> list[str]:
    """What starts a command in a shell, with this redirection."""
    return ["sh", "-c", f'exec "$@" {redirection}', "sh"]


@pytest.fixture
def run_uri(tmp_path: Path) -> str:
    return make_run(tmp_path, [Image("/d/a.jpg", [HIT])])


@pytest.mark.command
@pytest.mark.parametrize(
    ("redirection", "reason"),
    [
        ("2>&-", None),
        (">&-", "it is closed"),
        (">/dev/full", "No space left on device"),
        ("<&- >&- 2>&-", None),
    ],
)
def test_the_exit_code_is_that_of_the_work_and_a_lost_result_stands_on_stderr(
    run_uri: str, redirection: str, reason: str | None
) -> None:
    done = fcos("verify", run_uri, prefix=redirected(redirection))
    assert done.code == DONE
    if reason is not None:
        before, _, line = done.stderr.partition(f"stdout cannot be written ({reason}): ")
        assert (before, json.loads(line)["missing"]) == ("", 0)
    elif redirection.startswith("2>"):
        assert done.result()["run"] == run_uri


@pytest.mark.command
def test_an_error_has_its_exit_code_where_no_stream_is_left(tmp_path: Path) -> None:
    done = fcos("verify", tmp_path / "none", prefix=redirected("<&- >&- 2>&-"))
    assert done == Answer(CANNOT_WORK, "", "")


@pytest.mark.command
def test_tables_and_log_lines_to_a_reader_that_has_left_cost_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, [Image("/d/a.jpg", [HIT])])
    annotations = write_annotations(tmp_path, {5: "a.jpg"}, [(5, 1, CAT_BOX)])
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody_reads:
        done = fcos("evaluate", run, "--annotations", annotations, stderr=nobody_reads)
    assert done.result()["AP"] > 0


@pytest.mark.ray
def test_a_run_is_computed_without_any_stream(
    tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    done = fcos(
        *("detect", images, "--weights", tiny_weights, "--limit", 3, "--num-actors", 1),
        *("--out", "run"),
        cwd=tmp_path,
        prefix=redirected("<&- >&- 2>&-"),
    )
    assert done == Answer(DONE, "", "")
    assert fcos("verify", "run", cwd=tmp_path).result()["ok"] == 3


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    done = run_python(
        "-c",
        "from jobs.cli.streams import lost_output, open_standard_streams\n"
        "import os, sys\n"
        "open_standard_streams()\n"
        "with open('data', 'w') as file:\n"
        "    for number in (1, 2):\n"
        "        try: os.write(number, b'noise of a library')\n"
        "        except OSError: file.write('refused ')\n"
        "    print('result'); print('message', file=sys.stderr)\n"
        "    file.write(f'{sys.stdin.read()!r} {lost_output()}')\n",
        cwd=tmp_path,
        prefix=redirected("<&- >&- 2>&-"),
    )
    assert done == Answer(DONE, "", "")
    assert (tmp_path / "data").read_text() == ("refused refused '' ('result\\n', 'it is closed')")


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_reader_that_comes_back_gets_all_and_holds_up_one_line_only(*, is_blocking: bool) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, is_blocking)
    output = LastingOutput(write_end, 0.2)
    began = time.monotonic()
    for number in range(100):
        output.write(b"%4095d\n" % number)
    assert 0.2 <= time.monotonic() - began < 5
    seen = b""
    while seen.count(b"\n") < 100:
        seen += os.read(read_end, 4096)
    assert seen.split() == [b"%d" % number for number in range(100)], "nothing is torn"
    assert output.close_behind() is None
    os.close(read_end)
    assert output.write(b"nobody\n") == 7
    assert output.close_behind() == ("nobody\n", "its reader has left")
    os.close(write_end)


def test_what_is_too_much_for_a_reader_that_pauses_is_counted() -> None:
    read_end, write_end = os.pipe()
    output = LastingOutput(write_end, 0.05)
    for number in range(400):  # 1.6 MB; 64 KiB fit into the pipe, 1 MiB is kept
        output.write(b"%4095d\n" % number)
    text, reason = output.close_behind() or ("", "")
    assert (text.split()[0], reason) == ("16", "nobody has read it for 0.05 s")
    seen = b""
    while seen.count(b"\n") < 16 + 256:
        seen += os.read(read_end, 1 << 16)
    output.write(b"again\n")
    while not seen.endswith(b"again\n"):
        seen += os.read(read_end, 1 << 16)
    numbers, _, rest = seen.partition(b"... ")
    assert numbers.split() == [b"%d" % number for number in range(16 + 256)]
    assert rest == b"128 lines are left out: nobody has read them\nagain\n"
    os.close(read_end)
    os.close(write_end)


def test_a_terminal_that_hung_up_and_a_closed_file_cost_nothing() -> None:
    leader, follower = pty.openpty()
    output = LastingOutput(follower, 5.0)
    assert output.isatty()
    os.close(leader)
    assert output.write(b"line\n") == 5
    assert output.failure == "Input/output error"
    os.close(follower)
    assert output.write(b"line\n") == 5
    assert (output.failure, bytes(output.lost)) == ("it is closed", b"line\nline\n")


def test_several_threads_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file:
        output = LastingOutput(file.fileno(), 60.0)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: output.write(b"%d\n" % n), range(400)))
    assert sorted(map(int, path.read_text().split())) == list(range(400))


def test_a_forked_process_writes_with_a_thread_of_its_own() -> None:
    code = (
        "from jobs.cli.streams import open_standard_streams\n"
        "import os, sys\n"
        "open_standard_streams()\n"
        "print('parent')\n"
        "if not (child := os.fork()): print('child'); os._exit(0)\n"
        "os.waitpid(child, 0)\n"
    )
    began = time.monotonic()
    assert run_python("-W", "ignore", "-c", code) == Answer(DONE, "parent\nchild\n", "")
    assert time.monotonic() - began < 50


def test_a_log_line_is_one_line_in_which_no_name_steers_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = logging.Logger("of this test")
    log.addHandler(LogLines())
    log.warning("%s: is skipped", "a  b\x1b[2J\u202e.jpg\nerror: forged")
    try:
        int("\x1b[31m")
    except ValueError:
        log.exception("a bug")
    name, bug, *traceback = capsys.readouterr().err.splitlines()
    assert name == r"a  b\x1b[2J\u202e.jpg\nerror: forged: is skipped"
    assert (bug, traceback[-1]) == (
        "a bug",
        r"ValueError: invalid literal for int() with base 10: '\x1b[31m'",
    )
