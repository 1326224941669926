"""A settings file fills what the flags leave open; whatever is wrong in it is one clear line."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from fcos_core.errors import ConfigError
from jobs.cli.config_file import load_settings


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    out: str
    batch_size: int = Field(default=8, ge=1)
    score_threshold: float = 0.05
    inputs: tuple[str, ...] = ()

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


def message_of(file: str | None, flags: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(Settings, file, flags)
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
def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path, name: str, text: str):
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
    ],
)
def test_an_unknown_key_names_file_line_and_nearest_key(tmp_path: Path, name: str, text: str):
    file = write(tmp_path, name, text)

    message = message_of(file, {})

    assert message.startswith(f"{file}:3: unknown key")
    assert "did you mean 'batch_size'?" in message


def test_an_unknown_key_like_no_other_lists_the_known_ones(tmp_path: Path):
    message = message_of(write(tmp_path, "a.yaml", "zzz: 1\n"), {"out": "o"})
    assert "known keys: batch_size, inputs, out, score_threshold" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("batch_size: many\n", "integer", id="wrong type"),
        pytest.param("batch_size: 0\n", "greater than or equal to 1", id="below the limit"),
        pytest.param("score_threshold: 1.5\n", "1.5 is not in 0..1", id="own check"),
        pytest.param("inputs: [a, 7]\n", "at 1", id="inside a list"),
    ],
)
def test_a_wrong_value_names_file_line_and_key(tmp_path: Path, text: str, expected: str):
    file = write(tmp_path, "a.yaml", text)

    message = message_of(file, {"out": "o"})

    assert message.startswith(f"{file}:1: {text.split(':')[0]}")
    assert expected in message


def test_a_wrong_flag_is_named_as_the_flag_even_when_the_file_has_it_too(tmp_path: Path):
    file = write(tmp_path, "a.yaml", "batch_size: 4\n")
    message = message_of(file, {"out": "o", "batch_size": -1})
    assert message.startswith("--batch-size: ")
    assert message.endswith("not -1")


def test_a_required_setting_that_nobody_gave_is_named_as_its_flag():
    assert message_of(None, {"batch_size": 3}) == "--out is missing"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "out: [1\n", "a.yaml"),
        ("a.toml", "out = \n", "a.toml"),
        ("a.yaml", "- out\n", "holds a list"),
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
