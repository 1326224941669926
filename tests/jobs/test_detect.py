import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import jobs
import jobs.detect as detect_module
import jobs.dispatch.dispatch as dispatch_module
import jobs.planning.begin as begin_module
from fcos_core.errors import ConfigError
from fcos_core.numerics import NUMERICS_VERSION
from jobs.detect import DetectConfig, DetectResult, DryRun, run
from jobs.parallel.libraries import installed_libraries, libraries_of
from jobs.parallel.resources import local_resources
from jobs.planning.begin import begin_run, plan_run
from jobs.planning.model_card import read_model_card
from jobs.rundir.directory import RunDirectory
from jobs.rundir.manifest.index import Growth
from tests.fcos_core.engines.installed import HAS_OPENVINO
from tests.jobs.tiny_model import save_tiny

AUTO_ENGINE = "openvino" if HAS_OPENVINO else "folded"


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every attempt to reach a cluster fail the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr(dispatch_module, "connected", refuse)


def detected(config: DetectConfig) -> DetectResult:
    result = run(config)
    assert isinstance(result, DetectResult)
    return result


@pytest.fixture(scope="module")
def config(
    tmp_path_factory: pytest.TempPathFactory, images: Path, tiny_weights: Path
) -> DetectConfig:
    """The command that made ``first``."""
    return DetectConfig(
        inputs=(str(images),),
        out=str(tmp_path_factory.mktemp("first") / "run"),
        weights=str(tiny_weights),
        shard_size=6,
        batch_size=3,
        threads_per_actor=1,
        num_actors=2,
    )


@pytest.fixture(scope="module")
def first(ray: object, config: DetectConfig) -> DetectResult:
    """A complete run; tests that change it take a copy."""
    del ray
    return detected(config)


@pytest.fixture
def copy(first: DetectResult, config: DetectConfig, tmp_path: Path) -> DetectConfig:
    """A copy of the complete run, to be changed."""
    shutil.copytree(first.run, tmp_path / "run")
    return config.model_copy(update={"out": str(tmp_path / "run")})


def changed(config: DetectConfig, **changes: Any) -> DetectConfig:
    return DetectConfig(**{**config.model_dump(), **changes})


def files_of(run_uri: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(run_uri).rglob("*") if path.is_file()}


def test_a_run_is_complete_and_says_so(first: DetectResult) -> None:
    summary = first.summary()
    assert {name: summary[name] for name in summary if name not in {"seconds", "digest", "run"}} | {
        "images_per_s": 0
    } == {
        "planned": 20,
        "ok": 18,
        "quarantined": 2,
        "missing": 0,
        "duplicated": 0,
        "items_planned": 20,
        "items_ok": 18,
        "items_quarantined": 2,
        "items_missing": 0,
        "digest_class": "exact",
        "skipped": 0,
        "images_per_s": 0,
    }
    assert len(summary["digest"]) == 64
    assert summary["images_per_s"] > 0
    assert first.failure is None
    json.dumps(summary)


def test_its_record_says_how_it_was_done(first: DetectResult, tiny_weights: Path) -> None:
    record = RunDirectory(first.run).read_run_record()
    assert [(c.id, c.name) for c in record.categories] == [
        (3, "thing_3"),
        (7, "thing_7"),
        (11, "thing_11"),
    ]
    assert record.preset == "improved"
    assert record.settings == {
        "batch_size": 3,
        "threads_per_actor": 1,
        "shard_size": 6,
        "precision": "fp32",
        "engine": AUTO_ENGINE,
        "min_size_px": 64,  # the tiny model's own, not its preset's 800 and 1333
        "max_size_px": 128,
    }
    assert record.versions["fcos-batch"] == jobs.__version__
    fields = record.fingerprint_fields
    assert fields["numerics_version"] == NUMERICS_VERSION
    assert fields["libraries"] == libraries_of(AUTO_ENGINE, installed_libraries())
    assert "project_version" not in fields  # an upgrade alone must not end unfinished runs
    assert str(tiny_weights) in str(record.config)
    assert record.input_annotations is None


def test_its_events_name_each_shard_once(first: DetectResult) -> None:
    (log,) = (Path(first.run) / "events").iterdir()
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["event"] for event in events] == ["begin", *["shard"] * 4, "end"]
    assert sorted(event["shard"] for event in events[1:-1]) == [0, 1, 2, 3]


@pytest.mark.usefixtures("no_ray")
def test_a_complete_run_returns_at_once_and_unchanged(
    first: DetectResult, config: DetectConfig
) -> None:
    before = files_of(first.run)
    again = detected(config)
    assert again.proof == first.proof
    assert again.num_rows == 0
    assert files_of(first.run) == before


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(
            {"batch_size": None, "threads_per_actor": None, "shard_size": None}, id="left_open"
        ),
        pytest.param({"precision": "fp32", "engine": AUTO_ENGINE}, id="what_auto_came_to"),
        pytest.param({"num_actors": 7, "address": "ray.invalid:1", "max_bad": "2"}, id="not_in_it"),
        pytest.param({"bytes_in_flight": 2**20}, id="memory"),
    ],
)
def test_what_does_not_decide_the_rows_may_change(
    first: DetectResult, config: DetectConfig, changes: dict[str, Any]
) -> None:
    assert detected(changed(config, **changes)).proof == first.proof


@pytest.mark.usefixtures("no_ray", "first")
@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"score_threshold": 0.1}, "score_threshold: 0.05 in the run, 0.1 now"),
        ({"batch_size": 4}, "batch_size: 3 in the run, 4 now"),
        ({"threads_per_actor": 2}, "threads_per_actor: 1 in the run, 2 now"),
        ({"shard_size": 7}, "shard_size: 6 in the run, 7 now"),
        ({"precision": "bf16"}, 'precision: "fp32" in the run, "bf16" now'),
        ({"limit": 5}, "limit: null in the run, 5 now"),
        ({"max_pixels": 1000}, "max_pixels: 178956970 in the run, 1000 now"),
        ({"inputs": ("/elsewhere",)}, "inputs: "),
        ({"image_root": "/elsewhere"}, 'image_root: null in the run, "/elsewhere" now'),
    ],
)
def test_what_decides_the_rows_may_not_change(
    config: DetectConfig, changes: dict[str, Any], difference: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(changed(config, **changes))
    assert difference in str(caught.value)
    assert "holds another run" in str(caught.value)


@pytest.mark.usefixtures("no_ray", "first")
def test_other_weights_are_refused(config: DetectConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="weights_sha256: "):
        run(changed(config, weights=str(save_tiny(tmp_path, seed=1))))


def test_a_deleted_shard_and_record_are_made_again(first: DetectResult, copy: DetectConfig) -> None:
    shard = Path(RunDirectory(copy.out).shard_uri(2))
    before = shard.read_bytes()
    shard.unlink()
    (Path(copy.out) / "run.json").unlink()
    again = detected(copy)
    assert again.proof == first.proof
    assert again.num_rows == 6
    assert shard.read_bytes() == before


@pytest.mark.usefixtures("no_ray")
def test_a_damaged_shard_is_no_success_and_is_named(copy: DetectConfig) -> None:
    shard = Path(RunDirectory(copy.out).shard_uri(1))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    result = detected(copy)
    assert result.failure is not None
    assert "6 of 20 rows are missing" in result.failure
    assert "shard-000001.parquet" in result.failure
    assert "delete each file that `fcos verify` names, then the same command" in result.failure
    assert result.summary()["digest"] is None


@pytest.mark.usefixtures("no_ray", "first")
@pytest.mark.parametrize(
    ("max_bad", "failure"),
    [
        (None, None),
        ("2", None),
        ("10%", None),
        ("1", "2 of 20 rows are quarantined, --max-bad 1 allows 1"),
        ("0", "2 of 20 rows are quarantined, --max-bad 0 allows 0"),
        ("9.9%", "2 of 20 rows are quarantined, --max-bad 9.9% allows 1"),
    ],
)
def test_too_many_bad_images_are_no_success(
    config: DetectConfig, max_bad: str | None, failure: str | None
) -> None:
    found = detected(changed(config, max_bad=max_bad)).failure
    if failure is None or found is None:
        assert found == failure
    else:
        assert found.startswith(f"{failure}; the first: ")
        assert "05.png: " in found


def test_a_run_in_which_nothing_succeeded_is_no_success(
    ray: object, tmp_path: Path, tiny_weights: Path
) -> None:
    del ray
    (tmp_path / "a.jpg").write_text("no image")
    result = detected(
        DetectConfig(
            inputs=(str(tmp_path / "a.jpg"),), out=str(tmp_path / "run"), weights=str(tiny_weights)
        )
    )
    assert result.failure is not None
    assert f"all 1 rows are quarantined, the first: {tmp_path / 'a.jpg'}: not" in result.failure
    assert result.proof.complete


def test_ids_of_a_coco_file_and_a_limit_reach_the_manifest(
    ray: object, tmp_path: Path, images: Path, tiny_weights: Path
) -> None:
    del ray
    entries = [
        {"id": 100 + i, "file_name": f"{i:02d}.png", "width": 64, "height": 48} for i in (0, 3, 6)
    ]
    document = {"images": entries, "annotations": [], "categories": [{"id": 3, "name": "x"}]}
    annotations = tmp_path / "boxes.json"
    annotations.write_text(json.dumps(document))
    result = detected(
        DetectConfig(
            inputs=(str(annotations),),
            image_root=str(images),
            out=str(tmp_path / "run"),
            weights=str(tiny_weights),
            limit=2,
        )
    )
    directory = RunDirectory(result.run)
    assert directory.read_run_record().input_annotations == str(annotations)
    assert [item.image_id for item in directory.read_manifest()] == [100, 103]
    assert result.proof.ok == 2


@pytest.mark.usefixtures("no_ray")
def test_a_dry_run_says_the_plan_and_writes_nothing(
    config: DetectConfig, first: DetectResult, tmp_path: Path
) -> None:
    plan = run(changed(config, dry_run=True, out=str(tmp_path / "new")))
    assert isinstance(plan, DryRun)
    summary = plan.summary()
    assert (summary["items_planned"], summary["shards"], summary["shards_done"]) == (20, 4, 0)
    assert (summary["num_actors"], summary["batch_size"], summary["device"]) == (
        2,
        3,
        local_resources().device,
    )
    assert summary["sizes"] == {"unknown": 20}
    assert not (tmp_path / "new").exists()
    before = files_of(first.run)
    plan = run(changed(config, dry_run=True))
    assert isinstance(plan, DryRun)
    assert plan.num_shards_done == 4
    assert files_of(first.run) == before


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("is_dry", [True, False])
def test_a_folder_with_other_files_is_no_place_for_a_run(
    config: DetectConfig, tmp_path: Path, *, is_dry: bool
) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"holds other files \(thesis.txt\)"):
        run(changed(config, out=str(tmp_path), dry_run=is_dry))
    with pytest.raises(ConfigError, match=r"thesis.txt' is a file, must be a folder"):
        run(changed(config, out=str(tmp_path / "thesis.txt"), dry_run=is_dry))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.usefixtures("no_ray")
def test_out_inside_a_file_is_refused(config: DetectConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        run(changed(config, out=str(tmp_path / "file" / "run")))


def test_the_loser_of_a_race_to_begin_takes_the_winners_run(
    first: DetectResult, copy: DetectConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = Path(copy.out)
    target = tmp_path / "raced"
    write = begin_module.write_manifest

    def write_while_another_begins(*arguments: Any, **options: Any) -> bool:
        shutil.copytree(winner, target)
        return write(*arguments, **options)

    monkeypatch.setattr(begin_module, "write_manifest", write_while_another_begins)
    result = detected(changed(copy, out=str(target)))
    assert result.proof == first.proof
    assert result.num_rows == 0


def test_the_loser_of_a_race_to_begin_extends_the_winners_run_where_it_was_asked_to(
    first: DetectResult, copy: DetectConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = Path(copy.out)
    target = tmp_path / "raced"
    write = begin_module.write_manifest

    def write_while_another_begins(*arguments: Any, **options: Any) -> bool:
        shutil.copytree(winner, target)
        return write(*arguments, **options)

    monkeypatch.setattr(begin_module, "write_manifest", write_while_another_begins)
    result = detected(changed(copy, out=str(target), extend=True))
    assert result.proof == first.proof
    assert result.growth == Growth(num_new=0, num_changed=0, num_vanished=0)


def test_a_run_of_another_device_goes_on_only_if_that_is_allowed(
    ray: object, config: DetectConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del ray
    here = changed(config, out=str(tmp_path / "run"), limit=7)
    elsewhere = replace(local_resources(), device_model="Abacus 3000")
    with monkeypatch.context() as patch:
        patch.setattr(detect_module, "probe", lambda _: elsewhere)
        with pytest.raises(ConfigError, match=r"a worker's device is .* 'Abacus 3000'"):
            run(here)
    assert not (tmp_path / "run").exists()
    plan = plan_run(here, read_model_card(here.weights), lambda: elsewhere)
    begin_run(RunDirectory(here.out), plan)
    with pytest.raises(ConfigError, match='device_model: "Abacus 3000" in the run'):
        run(here)
    result = detected(changed(here, allow_mixed_devices=True))
    assert result.failure is None
    assert result.proof.digest_class == "tolerance"


def test_the_job_lists_inputs_only_once(
    first: DetectResult, copy: DetectConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the inputs were listed again")

    monkeypatch.setattr(begin_module, "enumerate_inputs", refuse)
    assert detected(copy).proof == first.proof
