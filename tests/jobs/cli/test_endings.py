"""The exit code is that of the work, however Ray ends behind it."""

# pyright: reportPrivateUsage=false

from typing import Any

import pytest
import typer

from jobs.cli.commands import Command
from jobs.parallel import ray_session
from tests.commands import DONE


class Done:
    """A result that says so."""

    def summary(self) -> dict[str, Any]:
        return {"is": "done"}


def test_an_interrupt_while_ray_ends_leaves_the_code_of_work_that_is_done(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def job(_: object) -> Done:
        ray_session._kept_open[0].callback(interrupt)
        return Done()

    command = Command(
        name="work",
        job=job,
        settings="jobs.settings.verify:VerifyConfig",
        has_config_file=False,
        is_resumable=True,
        may_use_ray=True,
    )
    with pytest.raises(typer.Exit) as ended:
        command.run({"run": "a-run"}, is_own_process=False)
    assert ended.value.exit_code == DONE
    assert capfd.readouterr() == ('{"is": "done"}\n', "")
