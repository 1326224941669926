"""A settings file fills what the options leave open; each problem of it is named on one line."""

import re
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, field_validator

from fcos_core.errors import ConfigError
from jobs.cli.config_file import load_settings
from jobs.settings.base import Argument, JobSettings, NumActors, Option
from jobs.settings.bpr import BprConfig
from jobs.settings.detect import DetectConfig
from jobs.settings.train import TrainConfig


class Settings(JobSettings):
    out: Annotated[str, Option()]
    batch_size: Annotated[int, Option()] = Field(default=8, ge=1)
    score_threshold: float = 0.05
    fps: float | None = Field(default=None, gt=0, le=100_000)
    inputs: Annotated[tuple[str, ...], Argument("INPUT")] = ()
    num_actors: NumActors = "auto"

    @field_validator("score_threshold")
    @classmethod
    def _is_probability(cls, value: float) -> float:
        if not 0 <= value <= 1:
            raise ValueError(f"score threshold {value} is not in 0..1")
        return value


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def message_of(file: str | None, options: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(Settings, file, options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "out: there\nbatch_size: 4\ninputs: [x, y]\n"),
        ("a.toml", 'out = "there"\nbatch_size = 4\ninputs = ["x", "y"]\n'),
        ("a.json", '{"out": "there", "batch_size": 4, "inputs": ["x", "y"]}'),
        ("a.YML", "\ufeffout: there\nbatch_size: 4\ninputs: [x, y]\n"),
    ],
)
def test_options_win_over_the_file_and_the_file_over_defaults(tmp_path: Path, name: str, text: str):
    settings = load_settings(
        Settings, write(tmp_path, name, text), {"batch_size": 2, "out": None, "inputs": None}
    )

    assert settings == Settings(out="there", batch_size=2, inputs=("x", "y"))


def test_an_empty_file_changes_nothing(tmp_path: Path):
    file = write(tmp_path, "a.yaml", "# nothing yet\n")
    assert load_settings(Settings, file, {"out": "o"}) == Settings(out="o")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "out: o\n\nbatch-size: 4\n"),
        ("a.yaml", "out: o\n\nbatchsize: 4\n"),
        ("a.toml", 'out = "o"\n\nbath_size = 4\n'),
        ("a.toml", 'out = "o\u2028\x85"\n\nbath_size = 4\n'),
    ],
)
def test_an_unknown_key_names_file_line_and_nearest_key(tmp_path: Path, name: str, text: str):
    file = write(tmp_path, name, text)

    message = message_of(file, {})

    assert message.startswith(f"{file}:3: unknown key")
    assert "did you mean 'batch_size'?" in message


def test_an_unknown_key_like_no_other_lists_the_known_ones(tmp_path: Path):
    message = message_of(write(tmp_path, "a.yaml", "zzz: 1\n"), {"out": "o"})
    assert "known keys: batch_size, fps, inputs, num_actors, out, score_threshold" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("batch_size: many\n", "must be a whole number, not 'many'", id="wrong type"),
        pytest.param("batch_size: 0\n", "must be at least 1, not 0", id="below the limit"),
        pytest.param("fps: 0\n", "must be above 0, not 0", id="at an excluded limit"),
        pytest.param("fps: 1e6\n", "must be at most 100000, not '1e6'", id="above the limit"),
        pytest.param("batch_size: yes\n", "must be a whole number, not True", id="yes is not 1"),
        pytest.param("num_actors: on\n", "must be a whole number, not True", id="on is not 1"),
        pytest.param("fps: false\n", "fps: must be a number, not False", id="false is not 0"),
        pytest.param("num_actors: all\n", "a whole number, or 'auto', not 'all'", id="two types"),
        pytest.param("score_threshold: 1.5\n", "1.5 is not in 0..1", id="own check"),
        pytest.param("inputs: [a, 7]\n", "inputs[1]: must be text, not 7", id="inside a list"),
    ],
)
def test_a_wrong_value_names_file_line_and_key(tmp_path: Path, text: str, expected: str):
    file = write(tmp_path, "a.yaml", text)

    message = message_of(file, {"out": "o"})

    assert message.startswith(f"{file}:1: {text.split(':')[0]}")
    assert expected in message


def test_a_wrong_option_is_named_as_the_option_even_when_the_file_sets_it_too(tmp_path: Path):
    file = write(tmp_path, "a.yaml", "batch_size: 4\n")
    message = message_of(file, {"out": "o", "batch_size": -1})
    assert message.startswith("--batch-size: ")
    assert message.endswith("not -1")


def test_a_missing_setting_is_named_as_its_option():
    assert message_of(None, {"batch_size": 3}) == "--out is missing"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[8.5, x]", "strides[0]: must be a whole number, not 8.5; "),
        ("[8.5, x]", "a.yaml:1: strides[1]: must be a whole number, not 'x'"),
        ("8", "strides: must be a list, not 8"),
        ("[[8]]", "strides[0]: must be a whole number, not [8]"),
    ],
)
def test_each_wrong_item_of_a_list_is_named(tmp_path: Path, text: str, expected: str):
    file = write(tmp_path, "a.yaml", f"strides: {text}")
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load_settings(BprConfig, file, {"annotations": "a.json"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[8]]", "size_ranges[0][1]: must be given, not [8]"),
        ("[[8, 9, 10]]", "size_ranges[0]: must have at most 2 items, not [8, 9, 10]"),
        ("[[8, far]]", "size_ranges[0][1]: must be a number, not 'far'"),
    ],
)
def test_a_wrong_size_range_is_named(tmp_path: Path, text: str, expected: str):
    file = write(tmp_path, "a.yaml", f"size_ranges: {text}")
    with pytest.raises(ConfigError, match=re.escape(expected)):
        load_settings(BprConfig, file, {"annotations": "a.json"})


def test_an_empty_path_and_an_empty_list_are_refused():
    with pytest.raises(ConfigError) as caught:
        load_settings(DetectConfig, None, {"inputs": [], "out": ""})
    assert str(caught.value) == (
        "INPUT: must have 1 or more items, not []; --out: must have 1 or more characters, not ''"
    )


def test_all_missing_settings_are_named():
    with pytest.raises(ConfigError, match=r"^--images, --annotations and --out are missing$"):
        load_settings(TrainConfig, None, {})


def test_all_wrong_values_are_named_each_at_its_place(tmp_path: Path):
    file = write(tmp_path, "a.yaml", "\nfps: -1\n")
    assert message_of(file, {"batch_size": "few"}) == (
        "--out is missing; --batch-size: must be a whole number, not 'few'; "
        f"{file}:2: fps: must be above 0, not -1"
    )


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "out: [1\n", "a.yaml"),
        ("a.toml", "out = \n", "a.toml"),
        ("a.yaml", "- out\n", "holds a list, must hold keys with values"),
        ("a.yaml", "just words\n", "holds a str"),
        ("a.yaml", "out: a\nbatch_size: 1\nout: b\n", "a.yaml:3: key 'out' is also on line 1"),
        ("a.yaml", "out: !!python/object/apply:os.getcwd []\n", "python/object"),
        ("a.ini", "out=1\n", "must end in .yaml, .yml or .toml"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, text: str, expected: str):
    assert expected in message_of(write(tmp_path, name, text), {})


def test_a_missing_file_and_one_that_is_no_text_say_so(tmp_path: Path):
    missing = str(tmp_path / "none.yaml")
    assert re.search(f"{re.escape(missing)}.*cannot be read", message_of(missing, {}))
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00\x81")
    assert "not UTF-8" in message_of(str(binary), {})
