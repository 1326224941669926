"""A config file that asks its parser for hours or gigabytes is refused at once, on one line."""

import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from fcos_core.errors import ConfigError
from jobs.cli.config_file import load_settings
from jobs.cli.config_text import MAX_BYTES, ConfigTextError, parse
from jobs.settings.detect import DetectConfig

NAMES = "abcdefghi"


def laughs(first: str, later: str) -> str:
    """Chain lists, each of nine aliases of the one before it."""
    lists = [
        later.format(after, ", ".join([f"*{before}"] * 9)) for before, after in pairwise(NAMES)
    ]
    return "\n".join(["out: o", "inputs:", first, *lists])


BOMBS = [
    pytest.param("YAML", laughs("- &a [x, x]", "- &{} [{}]"), "aliases stand", id="billion laughs"),
    pytest.param("YAML", laughs("- &a {k: 1}", "- &{} {{<<: [{}]}}"), "aliases", id="merged keys"),
    pytest.param("YAML", "a: " + "[" * 1200, "more than 16 levels", id="YAML lists"),
    pytest.param("YAML", "a: " + "{a: " * 400, "more than 16 levels", id="YAML flow mappings"),
    pytest.param(
        "YAML", "\n".join(f"{' ' * i}a:" for i in range(1000)), "16 levels", id="YAML mappings"
    ),
    pytest.param(
        "YAML",
        "a0: &a0 [1]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}]\n" for i in range(100)),
        "16 levels",
        id="aliases of aliases",
    ),
    pytest.param("YAML", "out: &o [*o]", "inside of what it names", id="alias of itself"),
    pytest.param("TOML", "a" + ".a" * 20_000 + " = 1", "16 levels", id="dots of a TOML key"),
    pytest.param("TOML", "['a'" + " . 'a'" * 20_000 + "]", "16 levels", id="quoted TOML parts"),
    pytest.param("TOML", "a = " + "[" * 10_000, "16 levels", id="TOML lists"),
    pytest.param("TOML", "a = " + "{a = " * 3000, "16 levels", id="TOML tables"),
    pytest.param("TOML", "limit = " + "9" * 100_000, "4300 digits", id="TOML number"),
    pytest.param("YAML", "limit: " + "9" * 100_000, "4300 digits", id="YAML number"),
    pytest.param("TOML", "'" * 200_000, "Expected", id="quotes"),
    pytest.param(
        "TOML",
        'a = """' + '"' * 2 + "\\" * 100_000,
        "Unescaped|Unterminated|xpected",
        id="open TOML string",
    ),
]


@pytest.mark.parametrize(("language", "text", "expected"), BOMBS)
def test_a_small_file_that_asks_for_much_is_refused_in_a_moment(language, text: str, expected: str):
    started = time.process_time()
    with pytest.raises(ConfigTextError, match=expected) as caught:
        parse(text, language)
    assert "\n" not in str(caught.value)
    assert time.process_time() - started < 10


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path):
    file = tmp_path / "a.yaml"
    with file.open("wb") as opened:
        opened.truncate(3 << 30)  # takes no space on the disk
    with pytest.raises(ConfigError, match=f"a.yaml' has 3221225472 bytes, limit {MAX_BYTES}"):
        load_settings(DetectConfig, str(file), {})


@pytest.mark.parametrize(
    ("language", "text"),
    [
        pytest.param("TOML", f"a = '{'x.' * 40}'  # {'y.' * 40}\nb = [[1, 2], [3, 4]]", id="TOML"),
        pytest.param("YAML", f"a: {'x.' * 40}  # {'y.' * 40}\nb: [[1, 2], [3, 4]]", id="YAML"),
    ],
)
def test_dots_in_text_nest_nothing(language, text: str):
    assert parse(text, language).values == {"a": "x." * 40, "b": [[1, 2], [3, 4]]}


def test_aliases_and_merged_keys_mean_what_they_mean_to_yaml():
    text = "a: &a {out: o}\nb: [*a, *a]\n<<: *a\n"
    assert parse(text, "YAML").values == yaml.safe_load(text)
