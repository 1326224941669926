"""``fcos detect`` on a finished run ends with the exit code of its work, on a busy machine too."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobs.settings.detect import DetectConfig
from tests.commands import DONE, fcos
from tests.fuzz.finished import finish
from tests.processes import busy_loops

pytestmark = [pytest.mark.command, pytest.mark.slow]


def test_sixty_endings_on_a_finished_run(tmp_path: Path, images: Path, tiny_weights: Path):
    config = DetectConfig(
        inputs=(str(images),), out=str(tmp_path / "run"), weights=str(tiny_weights), shard_size=2
    )
    finish(config)
    command = ("detect", images, "--out", config.out, "--weights", tiny_weights)
    with busy_loops(2), ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda _: fcos(*command, "--shard-size", 2), range(60)))
    assert [(end.code, end.stderr) for end in ended if end.code != DONE] == []
    assert len({end.result()["digest"] for end in ended}) == 1
