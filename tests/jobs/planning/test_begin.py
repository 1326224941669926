"""What a run that is taken up again must have in order, before anything is computed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import jobs.detect as detect_module
from fcos_core.errors import ConfigError
from jobs.detect import DetectConfig, run
from jobs.parallel.resources import local_resources
from jobs.planning.begin import begin_run, plan_run, reopen_run, require_writable
from jobs.planning.model_card import read_model_card
from jobs.rundir.directory import RunDirectory
from jobs.rundir.fingerprint import fingerprint
from tests.forging import sealed


class DispatchedError(Exception):
    """Shards were given to workers."""


@pytest.fixture
def begun(
    tmp_path: Path, images: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> DetectConfig:
    """A run that is begun, with all its shards missing; computing one raises."""

    def dispatch(*_: object, on_start: Callable[[], None], **__: object) -> None:
        on_start()
        raise DispatchedError

    monkeypatch.setattr(detect_module, "dispatch", dispatch)
    config = DetectConfig(
        inputs=(str(images),), out=str(tmp_path / "run"), weights=str(tiny_weights), num_actors=1
    )
    with pytest.raises(DispatchedError):
        run(config)
    return config


def cut(record: Path) -> None:
    record.write_bytes(record.read_bytes()[:100])


def leave_out_the_seal(record: Path) -> None:
    document = json.loads(record.read_text())
    del document["sha256"]
    record.write_text(json.dumps(document))


def change_a_value(record: Path) -> None:
    record.write_text(record.read_text().replace('"thing_3"', '"thing_4"'))


def take_that_of_another_run(record: Path) -> None:
    document = {**json.loads(record.read_text()), "run_id": "another"}
    record.write_text(json.dumps(sealed(document)))


@pytest.mark.parametrize("is_dry", [False, True])
@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (cut, r"run.json' is damaged: .*; delete it, and the command"),
        (leave_out_the_seal, r"run.json' is damaged: it has no seal.*; delete it, and the command"),
        (change_a_value, r"run.json' is damaged: .* the sha256 differs; delete it"),
        (take_that_of_another_run, r"run.json': foreign: it is of run another, the manifest"),
    ],
)
def test_a_damaged_record_is_refused_before_anything_is_computed(
    begun: DetectConfig, damage: Callable[[Path], None], expected: str, *, is_dry: bool
) -> None:
    damage(Path(begun.out) / "run.json")
    with pytest.raises(ConfigError, match=expected):
        run(begun.model_copy(update={"dry_run": is_dry}))


@pytest.mark.parametrize(
    ("field", "value"),
    [("batch_size", "8"), ("batch_size", 0), ("threads_per_actor", None), ("precision", "fp8")],
)
def test_a_manifest_with_an_impossible_setting_is_refused(
    begun: DetectConfig, field: str, value: object
) -> None:
    directory = RunDirectory(begun.out)
    metadata = directory.manifest().metadata
    fields = {**json.loads(metadata["fingerprint_fields"]), field: value}
    changed = {"fingerprint": fingerprint(fields), "fingerprint_fields": json.dumps(fields)}
    table = directory.manifest().read_table()
    Path(directory.manifest_uri).unlink()
    assert directory.create_manifest(table, {**metadata, **changed})
    with pytest.raises(ConfigError, match=f"was not written by fcos detect: {field}: "):
        run(begun)


def test_a_run_without_a_record_goes_on(begun: DetectConfig) -> None:
    record = Path(begun.out) / "run.json"
    record.unlink()
    with pytest.raises(DispatchedError):
        run(begun)
    assert RunDirectory(begun.out).read_run_record().run_id


def test_a_plan_has_the_shards_that_the_manifest_has(begun: DetectConfig) -> None:
    model = read_model_card(begun.weights)
    plan = plan_run(begun.model_copy(update={"shard_size": 7}), model, local_resources)
    out = RunDirectory(f"{begun.out}-planned")
    begin_run(out, plan)
    opened = reopen_run(out)
    assert repr(opened.shards()) == repr(plan.shards())
    assert len(plan.shards()) == 3
    assert opened.run_id == plan.run_id


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_started(
    tmp_path: Path,
) -> None:
    require_writable(RunDirectory(str(tmp_path / "new" / "run")))
    require_writable(RunDirectory(str(tmp_path)))
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    for place in (tmp_path / "file" / "run", tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=r"index-000000.* cannot be written: Not a dir"):
            require_writable(RunDirectory(str(place)))
