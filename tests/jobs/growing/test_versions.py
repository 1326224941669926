"""A run that one release begins and another one goes on with."""

from pathlib import Path

import pytest

import jobs
import jobs.detect as detect_module
import jobs.planning.defaults as defaults_module
import jobs.worker.place as place_module
from fcos_core.errors import ConfigError
from fcos_core.numerics import NUMERICS_VERSION
from jobs.detect import DetectConfig, run
from jobs.rundir.directory import RunDirectory
from tests.jobs.dispatch.here import dispatch_here
from tests.jobs.growing import add, command_of, config_of, detected, files_of, said, write_first


@pytest.fixture
def begun(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> DetectConfig:
    """The command of a run with one of three shards."""
    monkeypatch.setattr(detect_module, "dispatch", dispatch_here)
    config = config_of(write_first(tmp_path / "images"), tiny_weights, tmp_path / "run")
    detected(config, shards="0")
    return config


def raise_numerics(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (defaults_module, place_module):
        monkeypatch.setattr(module, "NUMERICS_VERSION", NUMERICS_VERSION + 1)


def test_another_release_goes_on_with_the_same_bits(
    begun: DetectConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = detected(begun, out=str(tmp_path / "whole"))
    began_with = jobs.__version__
    monkeypatch.setattr(jobs, "__version__", "99.0.0")
    result = detected(begun)
    assert result.failure is None
    assert (result.proof.digest, result.proof.digest_class) == (whole.proof.digest, "exact")
    record = RunDirectory(begun.out).read_run_record()
    assert record.versions["fcos-batch"] == began_with  # who began it


@pytest.mark.parametrize("option", [[], ["--extend"], ["--dry-run"], ["--retry-quarantined"]])
def test_other_arithmetic_is_refused_in_one_line_with_the_option_that_allows_it(
    begun: DetectConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: list[str],
) -> None:
    raise_numerics(monkeypatch)
    before = files_of(begun.out)
    code, summary, err = said(capsys, *command_of(begun, *option))
    assert (code, summary, err.count("\n")) == (2, {}, 1)
    found, now = NUMERICS_VERSION, NUMERICS_VERSION + 1
    assert f"numerics_version: {found} in the run, {now} now; resume it with the version" in err
    assert err.endswith("or --allow-version-change for rows that differ\n")
    assert files_of(begun.out) == before


def test_other_arithmetic_that_is_allowed_completes_the_run_and_is_no_longer_exact(
    begun: DetectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        raise_numerics(patch)
        result = detected(begun, allow_version_change=True)
    assert (result.failure, result.proof.digest_class) == (None, "tolerance")
    assert result.proof.digest is not None
    again = detected(begun)  # whoever looks at it later
    assert (again.failure, again.proof.digest_class) == (None, "tolerance")


def test_a_complete_run_is_proved_by_every_version_and_extended_by_its_own(
    begun: DetectConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = detected(begun).proof
    raise_numerics(monkeypatch)
    assert detected(begun).proof == exact
    add(tmp_path / "images")
    before = files_of(begun.out)
    with pytest.raises(ConfigError, match="allow-version-change"):
        detected(begun, extend=True)
    assert files_of(begun.out) == before
    result = detected(begun, extend=True, allow_version_change=True)
    assert (result.failure, result.proof.digest_class) == (None, "tolerance")
    plan = run(begun.model_copy(update={"dry_run": True}))
    assert plan.failure is None
