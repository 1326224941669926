"""``--extend``: what inputs gained becomes further shards, and every reader sees the newest."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fcos_core.errors import ConfigError
from jobs.detect import DetectConfig, DryRun, run
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import Row, table_to_rows
from jobs.rundir.shard_reading import iterate_rows
from tests.jobs.growing import (
    ADDED,
    CHANGED,
    NUM_FIRST,
    REMOVED,
    add,
    annotate,
    command_of,
    config_of,
    detected,
    files_of,
    grow,
    said,
    write_image,
)
from tests.jobs.html.pages import parse
from tests.jobs.media.video.making import Recipe, write_video


def current_rows(config: DetectConfig) -> list[Row]:
    return [row for table in iterate_rows(RunDirectory(config.out)) for row in table_to_rows(table)]


def by_name(config: DetectConfig) -> dict[str, Row]:
    """The rows that readers see of a run of images; each image once."""
    rows = current_rows(config)
    names = {Path(row.uri).name: row for row in rows}
    assert len(names) == len(rows)
    return names


def growth_of(summary: dict[str, Any]) -> list[int]:
    return [summary[f"inputs_{name}"] for name in ("new", "changed", "vanished")]


def test_an_extension_adds_what_is_new_or_changed_and_keeps_every_file(
    folder: Path, config: DetectConfig
) -> None:
    detected(config)
    before = files_of(config.out)
    old_size = by_name(config)[CHANGED].width
    grow(folder)
    result = detected(config, extend=True)
    assert growth_of(result.summary()) == [6, 1, 1]
    proof = result.proof
    assert (proof.items_planned, proof.ok, proof.quarantined, proof.missing) == (19, 19, 0, 0)
    assert (result.num_rows, result.failure) == (7, None)
    after = files_of(config.out)
    assert {name: after[name] for name in before} == before
    rows = by_name(config)
    assert rows.keys() == {f"{i:02d}.png" for i in range(NUM_FIRST)} | set(ADDED)
    assert (old_size, rows[CHANGED].width, rows[CHANGED].height) == (64, 40, 56)
    ids = [row.image_id for row in rows.values()]
    assert len(set(ids)) == len(ids)
    assert max(ids) == 19


def test_every_command_reads_the_newest_version_of_each_image_once(
    folder: Path, config: DetectConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detected(config)
    grow(folder)
    names = {f"{i:02d}.png" for i in range(NUM_FIRST)} | set(ADDED)
    detected(config, extend=True)
    (tmp_path / REMOVED).rename(folder / REMOVED)  # to be drawn
    truth = annotate(tmp_path / "truth.json", names)
    code, scores, err = said(capsys, "evaluate", config.out, "--annotations", truth)
    assert code == 0, err
    assert (scores["images"], scores["quarantined"]) == (18, 0)
    code, recall, err = said(capsys, "bpr", truth, "--run", config.out)
    assert (code, recall["images"]) == (0, 18), (err, recall)
    code, drawn, err = said(capsys, "render", config.out, "--out", tmp_path / "drawn")
    assert (code, drawn["images"], drawn["missing"]) == (0, 18, 0), err
    assert len(list((tmp_path / "drawn").glob("[0-9]*.jpg"))) == 18
    code, page, err = said(capsys, "report", config.out)
    assert code == 0, err
    text = " ".join(parse(Path(page["report"]).read_text()).text.split())
    assert "18 images" in text, text


@pytest.mark.slow
def test_the_changed_image_is_drawn_with_its_new_boxes_only(
    folder: Path, config: DetectConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detected(config)
    grow(folder)
    detected(config, extend=True)
    code, drawn, err = said(capsys, "render", config.out, "--out", tmp_path / "drawn")
    assert (drawn["images"], drawn["missing"], drawn["changed"]) == (17, 1, 0), (code, err)


def test_a_resumed_run_says_how_much_is_new_and_adds_nothing(
    folder: Path, config: DetectConfig, caplog: pytest.LogCaptureFixture
) -> None:
    detected(config)
    before = files_of(config.out)
    assert detected(config).growth is None
    assert "--extend" not in caplog.text
    grow(folder)
    assert detected(config).proof.items_planned == NUM_FIRST
    assert "6 new files are not in this run; --extend adds them" in caplog.messages
    assert files_of(config.out) == before


def test_verify_says_what_a_run_lacks_until_it_is_extended(
    folder: Path, config: DetectConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    detected(config)
    code, summary, _ = said(capsys, "verify", config.out, "--inputs")
    assert (code, growth_of(summary)) == (0, [0, 0, 0])
    grow(folder)
    code, summary, err = said(capsys, "verify", config.out, "--inputs")
    assert (code, growth_of(summary)) == (3, [6, 1, 1])
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [
        "error: the run lacks 6 new and 1 changed inputs; the command that began it adds them "
        "with --extend"
    ]
    assert said(capsys, "verify", config.out)[0] == 0
    detected(config, extend=True)
    code, summary, _ = said(capsys, "verify", config.out, "--inputs")
    assert (code, growth_of(summary)) == (0, [0, 0, 1])


def test_extending_with_nothing_new_writes_nothing(folder: Path, config: DetectConfig) -> None:
    detected(config)
    before = files_of(config.out)
    assert growth_of(detected(config, extend=True).summary()) == [0, 0, 0]
    (folder / REMOVED).unlink()
    assert growth_of(detected(config, extend=True).summary()) == [0, 0, 1]
    assert files_of(config.out) == before


def test_runs_grow_any_number_of_times(folder: Path, config: DetectConfig) -> None:
    detected(config)
    digests: list[str | None] = []
    for step, name in enumerate(ADDED[:3]):
        add(folder, [name])
        write_image(folder / CHANGED, seed=50 + step, size=(40 + 8 * step, 56))
        kept = files_of(config.out)
        result = detected(config, extend=True)
        assert growth_of(result.summary()) == [1, 1, 0]
        assert kept.items() <= files_of(config.out).items()
        assert result.proof.items_planned == NUM_FIRST + 2 * (step + 1)
        digests.append(result.proof.digest)
        rows = by_name(config)
        assert len(rows) == NUM_FIRST + step + 1
        assert rows[CHANGED].width == 40 + 8 * step
    assert len(set(digests)) == 3
    assert [growth.num_new for growth in RunDirectory(config.out).manifest().growths] == [1, 1, 1]


def test_an_image_that_comes_back_as_it_was_is_the_one_that_the_run_has(
    folder: Path, config: DetectConfig
) -> None:
    detected(config)
    path = folder / REMOVED
    kept = path.rename(folder.parent / REMOVED)
    add(folder, ADDED[:1])
    assert growth_of(detected(config, extend=True).summary()) == [1, 0, 1]
    kept.rename(path)
    assert growth_of(detected(config, extend=True).summary()) == [0, 0, 0]
    assert len(by_name(config)) == NUM_FIRST + 1


def test_a_video_that_becomes_longer_is_looked_at_again_as_a_whole(
    folder: Path, config: DetectConfig
) -> None:
    clip = Recipe(num_frames=10)
    write_video(folder, clip)
    first = detected(config)
    assert first.proof.planned == NUM_FIRST + 10
    write_video(folder, replace(clip, num_frames=14))
    result = detected(config, extend=True)
    assert growth_of(result.summary()) == [0, 1, 0]
    assert result.proof.planned == NUM_FIRST + 10 + 14
    frames = [row.frame_index for row in current_rows(config) if row.frame_index is not None]
    assert frames == list(range(14))
    ids = [row.image_id for row in current_rows(config)]
    assert len(set(ids)) == len(ids) == NUM_FIRST + 14


def test_the_segments_of_a_new_video_follow_the_run_and_not_the_command(
    folder: Path, config: DetectConfig, tmp_path: Path
) -> None:
    """A shard size that is left open is the run's."""
    runs = [detected(config), detected(config, out=str(tmp_path / "other"))]
    write_video(folder, Recipe(num_frames=10))
    repeated = detected(config, extend=True)
    left_open = detected(config, out=runs[1].run, extend=True, shard_size=None)
    assert repeated.proof.digest == left_open.proof.digest
    shards = [RunDirectory(one.run).manifest().shards.numbers.tolist() for one in runs]
    assert shards[0] == shards[1]


def test_a_changed_image_that_cannot_be_used_any_more_is_quarantined(
    folder: Path, config: DetectConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detected(config)
    (folder / CHANGED).write_bytes(b"no image")
    result = detected(config, extend=True)
    assert growth_of(result.summary()) == [0, 1, 0]
    assert (result.proof.planned, result.proof.quarantined) == (NUM_FIRST + 1, 1)
    row = by_name(config)[CHANGED]
    assert (row.status, row.error_class) == ("quarantined", "ImageError")
    names = [f"{i:02d}.png" for i in range(NUM_FIRST)]
    truth = annotate(tmp_path / "truth.json", names)
    code, scores, err = said(capsys, "evaluate", config.out, "--annotations", truth)
    assert (code, scores["images"], scores["quarantined"]) == (0, NUM_FIRST, 1), err


def test_a_retry_after_an_extension_takes_new_items_and_none_that_is_replaced(
    folder: Path, config: DetectConfig
) -> None:
    (folder / CHANGED).write_bytes(b"no image")
    (folder / "05.png").write_bytes(b"no image")
    assert detected(config).proof.quarantined == 2
    write_image(folder / CHANGED, seed=99)  # its repaired version is a new item
    (folder / ADDED[0]).write_bytes(b"")
    result = detected(config, extend=True)
    assert growth_of(result.summary()) == [1, 1, 0]
    before = files_of(config.out)
    write_image(folder / "05.png", seed=5)
    write_image(folder / ADDED[0], seed=12)
    summary = detected(config, retry_quarantined=True).summary()
    assert (summary["items_retried"], summary["items_recovered"]) == (2, 2)
    assert all(row.status == "ok" for row in by_name(config).values())
    assert before.items() <= files_of(config.out).items()
    again = detected(config, retry_quarantined=True).summary()
    assert (again["attempt"], again["items_retried"]) == (None, 0)


def test_extension_and_retry_in_one_command_extend_first(
    folder: Path, config: DetectConfig
) -> None:
    (folder / "05.png").write_bytes(b"no image")
    detected(config)
    write_image(folder / "05.png", seed=5)
    add(folder, ADDED[:1])
    result = detected(config, extend=True, retry_quarantined=True)
    assert growth_of(result.summary()) == [1, 1, 0]
    assert result.summary()["items_retried"] == 0  # the repaired image is new to the run
    assert all(row.status == "ok" for row in by_name(config).values())


def test_an_incomplete_run_is_extended_and_then_completed(
    folder: Path, config: DetectConfig
) -> None:
    detected(config, shards="0")
    add(folder)
    result = detected(config, extend=True)
    assert growth_of(result.summary()) == [6, 0, 0]
    assert (result.num_rows, result.proof.missing) == (14, 0)
    assert len(by_name(config)) == NUM_FIRST + 6


def test_what_changed_before_it_was_computed_is_computed_as_it_is_now(
    folder: Path, config: DetectConfig
) -> None:
    """Its older item is a quarantined row of the files, which readers leave out."""
    detected(config, shards="1-2")
    grow(folder)
    result = detected(config, extend=True)
    assert growth_of(result.summary()) == [6, 1, 1]
    assert (result.proof.planned, result.proof.missing, result.failure) == (19, 0, None)
    rows = by_name(config)
    assert (rows[CHANGED].status, rows[CHANGED].width) == ("ok", 40)
    assert len(rows) == 18


def test_a_coco_file_that_grew_keeps_its_own_ids(
    folder: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    names = [f"{i:02d}.png" for i in range(NUM_FIRST)]
    coco = annotate(tmp_path / "coco.json", names)
    config = config_of(coco, tiny_weights, tmp_path / "run", image_root=str(folder))
    detected(config)
    grow(folder)
    annotate(coco, {*names, *ADDED} - {REMOVED})
    result = detected(config, extend=True)
    assert growth_of(result.summary()) == [6, 1, 1]
    rows = by_name(config)
    assert {name: row.image_id for name, row in rows.items()} == {
        f"{i:02d}.png": 100 + i for i in range(NUM_FIRST + 6)
    }
    assert rows[CHANGED].width == 40
    write_image(folder / "18.png", seed=18)
    annotate(coco, {*names, *ADDED, "18.png"} - {REMOVED}, _18=107)  # of the image that is gone
    before = files_of(config.out)
    with pytest.raises(ConfigError, match="has this id in the run"):
        detected(config, extend=True)
    assert files_of(config.out) == before


def test_other_settings_cannot_extend_a_run(folder: Path, config: DetectConfig) -> None:
    detected(config)
    before = files_of(config.out)
    add(folder)
    with pytest.raises(ConfigError, match="holds another run: score_threshold"):
        detected(config, extend=True, score_threshold=0.2)
    assert files_of(config.out) == before


def test_where_there_is_no_run_yet_an_extension_begins_it(
    config: DetectConfig, tmp_path: Path
) -> None:
    begun = detected(config, extend=True)
    plain = detected(config, out=str(tmp_path / "plain"))
    assert begun.failure is None
    assert begun.proof.digest == plain.proof.digest
    assert RunDirectory(config.out).manifest().growths == []


def test_a_dry_extension_says_what_it_would_add_and_writes_nothing(
    folder: Path, config: DetectConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    detected(config)
    before = files_of(config.out)
    grow(folder)
    plan = run(config.model_copy(update={"extend": True, "dry_run": True}))
    assert isinstance(plan, DryRun)
    summary = plan.summary()
    assert growth_of(summary) == [6, 1, 1]
    assert (summary["items_planned"], summary["shards"], summary["shards_done"]) == (19, 5, 3)
    assert summary["sizes"] == {"unknown": 19}
    code, line, _ = said(capsys, *command_of(config, "--extend", "--dry-run"))
    assert (code, growth_of(line)) == (0, [6, 1, 1])
    assert files_of(config.out) == before
    result = detected(config, extend=True)
    done = RunDirectory(config.out).manifest().shards
    assert (result.proof.items_planned, len(done)) == (19, 5)
    without = run(config.model_copy(update={"dry_run": True})).summary()
    assert (without["items_planned"], "inputs_new" in without) == (19, False)


@pytest.mark.slow
def test_a_dry_extension_counts_the_segments_of_new_videos(
    folder: Path, config: DetectConfig
) -> None:
    detected(config)
    write_video(folder, Recipe(num_frames=10))
    plan = run(config.model_copy(update={"extend": True, "dry_run": True})).summary()
    result = detected(config, extend=True)
    assert plan["items_planned"] == result.proof.items_planned
    assert plan["shards"] == len(RunDirectory(config.out).manifest().shards)


def test_a_dry_extension_is_refused_where_the_extension_would_be(
    folder: Path, config: DetectConfig
) -> None:
    detected(config)
    shutil.rmtree(folder)
    with pytest.raises(ConfigError, match="does not exist"):
        run(config.model_copy(update={"extend": True, "dry_run": True}))
    with pytest.raises(ConfigError, match="does not exist"):
        detected(config, extend=True)


@pytest.mark.slow
def test_a_limit_holds_for_the_grown_listing(folder: Path, config: DetectConfig) -> None:
    few = config.model_copy(update={"limit": 5})
    detected(few)
    add(folder, ADDED[:2])
    assert growth_of(detected(few, extend=True).summary()) == [0, 0, 0]
    write_image(folder / "00a.png", seed=77)  # it takes the place of the fifth
    assert growth_of(detected(few, extend=True).summary()) == [1, 0, 1]
    assert len(by_name(few)) == 6
