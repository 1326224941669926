"""The options of every command, as its ``--help`` shows them, and how soon it does."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.cli.commands import COMMANDS, main
from jobs.cli.options import option_name
from jobs.settings.base import mark_of

ROOT = Path(__file__).resolve().parents[3]
DETECT = (
    "INPUT --out --weights --image-root --image-column --score-threshold --precision --engine "
    "--batch-size --num-actors --threads-per-actor --shard-size --max-bad --retry-quarantined "
    "--every-n-frames --fps --stream --limit --shards --extend --dry-run --config --address "
    "--allow-mixed-devices --allow-version-change --allow-unsafe-commit"
)
OPTIONS = {
    "detect": DETECT,
    "verify": "RUN --inputs --rows-digest --num-actors --address",
    "evaluate": "RUN --annotations --results --against --out --allow-incomplete --resamples "
    "--num-actors --address",
    "bpr": "ANNOTATIONS --rule --run --out --skip-invalid --num-actors --config --address",
    "run": f"{DETECT} --annotations",
    "demo": "--out --num-images --num-frames --num-actors",
    "render": "RUN --out --min-score --classes --between --limit --image-root --targets --rule "
    "--num-actors --address",
    "report": "RUN --annotations --image-root --out",
    "train": "--images --annotations --out --steps --batch-size --seed --weights --num-workers "
    "--config --address",
}
DEFAULTS = {
    "detect": ["coco", "0.05", "auto", "no limit", "required"],
    "evaluate": ["0", "auto", "RUN/evaluation/metrics.json", "required"],
    "bpr": ["paper, improved, torchvision", "required"],
    "demo": ["demo-run", "300", "120"],
    "render": ["0.5", "hold", "all", "paper", "where the run found them"],
    "train": ["random", "90000", "16", "0", "auto"],
}
SLOW_MODULES = {
    *("torch", "torchvision", "ray", "numpy", "pyarrow", "cv2", "av", "boto3", "yaml", "PIL"),
    *("rich.console", "jobs.storage"),
}
SECONDS_OF_CPU = 2.5  # about 0.4 on an idle core; a busy machine counts more


def help_of(command: str, capfd: pytest.CaptureFixture[str]) -> str:
    assert main([command, "--help"]) == 0
    return capfd.readouterr().out


@pytest.mark.parametrize("command", OPTIONS)
def test_every_command_has_just_these_options(command: str, capfd: pytest.CaptureFixture[str]):
    shown = re.findall(r"^  (--[a-z-]+|[A-Z_]+)\b", help_of(command, capfd), flags=re.MULTILINE)

    assert sorted(shown) == sorted([*OPTIONS[command].split(), "--help"])


def test_the_table_above_names_all_commands():
    assert [command.name for command in COMMANDS] == list(OPTIONS)


@pytest.mark.parametrize("command", DEFAULTS)
def test_the_help_shows_the_defaults(command: str, capfd: pytest.CaptureFixture[str]):
    text = " ".join(help_of(command, capfd).split())
    for default in DEFAULTS[command]:
        assert f"[{default}]" in text


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("command", OPTIONS)
def test_the_help_fits_the_terminal(
    command: str,
    columns: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert max(map(len, help_of(command, capfd).splitlines())) <= columns


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_setting_is_described_in_a_phrase(command):
    for name, field in command.settings_class().model_fields.items():
        description = field.description
        assert description, name
        assert not description.endswith("."), name


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_what_only_a_file_can_set_needs_no_value(command):
    for name, field in command.settings_class().model_fields.items():
        if mark_of(field) is None:
            assert not field.is_required(), name
            assert option_name(command.settings_class(), name) == name


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which modules are compiled once, as in an installation."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("compiled")),
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


PROBE = """
import sys
from jobs.cli import main
assert main(sys.argv[1:]) == 0
print("modules", *sys.modules)
"""


@pytest.mark.parametrize("arguments", [[], *([name] for name in OPTIONS)], ids=" ".join)
def test_help_imports_no_slow_module_and_one_settings_class(
    arguments: list[str], compiled: dict[str, str]
):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments, "--help"],
        env=compiled,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.splitlines()[-1].split()[1:])
    assert not modules & SLOW_MODULES
    classes = {m.removeprefix("jobs.settings.") for m in modules if m.startswith("jobs.settings.")}
    shared = {"base", "max_bad", "shard_range"}
    assert len(classes - shared - ({"detect"} if arguments == ["run"] else set())) == len(arguments)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < SECONDS_OF_CPU


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["bpr", "a.json", "--strides", "8"], "set strides in the file of --config"),
        (["bpr", "a.json", "--rules", "paper"], "No such option: --rules (Possible options"),
        (["detect", "a", "--out", "x", "--inputs", "b"], "No such option: --inputs"),
    ],
)
def test_an_unknown_option_is_sent_to_the_file_only_where_the_file_alone_has_it(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert ("--config" in said) == ("--config" in expected)
