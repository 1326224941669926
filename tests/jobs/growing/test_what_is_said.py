"""What ``--extend`` says: a line for people, and counts for scripts."""

import logging
from pathlib import Path

import pytest

from jobs.detect import DetectConfig
from tests.jobs.growing import command_of, grow, said


def test_the_line_of_an_extension_is_json_with_its_counts(
    folder: Path,
    config: DetectConfig,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    said(capsys, *command_of(config))
    grow(folder)
    with caplog.at_level(logging.INFO, "jobs"):
        code, summary, _ = said(capsys, *command_of(config, "--extend"))
    assert (code, summary["planned"]) == (0, 19)
    counts = [summary[f"inputs_{name}"] for name in ("new", "changed", "vanished")]
    assert counts == [6, 1, 1]
    words = "the run is extended by 7 items in 2 shards: inputs: 6 new, 1 changed, 1 gone"
    assert f"{words} (their rows stay)" in caplog.messages
