"""The ``fcos`` command as a shell sees it: exit code, one line of error, one line of JSON."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from jobs.cli.commands import main
from jobs.cli.tables import show_videos
from jobs.rundir.directory import RunDirectory
from tests.commands import DONE, INTERRUPTED, fcos, started
from tests.processes import children_below, is_gone, wait_until


def annotate(folder: Path, images: Path) -> Path:
    """Annotate every image with one box, in the tiny model's categories."""
    names = sorted(path.name for path in images.iterdir())
    document = {
        "images": [
            {"id": 100 + n, "file_name": name, "width": 64, "height": 48}
            for n, name in enumerate(names)
        ],
        "annotations": [
            {"id": n, "image_id": 100 + n, "category_id": (3, 7, 11)[n % 3], "bbox": [4, 4, 20, 20]}
            for n in range(len(names))
        ],
        "categories": [{"id": id_, "name": f"thing_{id_}"} for id_ in (3, 7, 11)],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(document))
    return path


def missing_input(folder: Path) -> list[object]:
    return ["detect", folder / "none.jpg", "--out", "RUN"]


def empty_folder(folder: Path) -> list[object]:
    (folder / "nothing").mkdir()
    return ["detect", "nothing", "--out", "RUN"]


def truncated_annotations(folder: Path) -> list[object]:
    (folder / "cut.json").write_text('{"images": [')
    return ["run", "IMAGES", "--annotations", "cut.json", "--out", "RUN"]


def missing_annotations(_: Path) -> list[object]:
    return ["evaluate", "RUN", "--annotations", "none.json"]


def unknown_weights(_: Path) -> list[object]:
    return ["detect", "IMAGES", "--weights", "nonesuch", "--out", "RUN"]


def checkpoint_of_another_model(folder: Path) -> list[object]:
    torch.save(torchvision.models.squeezenet1_1().state_dict(), folder / "other.pth")
    return ["detect", "IMAGES", "--weights", "other.pth", "--out", "RUN"]


def out_inside_a_file(folder: Path) -> list[object]:
    (folder / "file").write_text("x")
    return ["detect", "IMAGES", "--out", "file/RUN"]


def unknown_config_key(folder: Path) -> list[object]:
    (folder / "settings.yaml").write_text("out: RUN\nbatchsize: 4\n")
    return ["detect", "IMAGES", "--config", "settings.yaml"]


def wrong_config_value(folder: Path) -> list[object]:
    (folder / "settings.toml").write_text('out = "RUN"\nlimit = "few"\n')
    return ["detect", "IMAGES", "--config", "settings.toml"]


def wrong_option_value(_: Path) -> list[object]:
    return ["detect", "IMAGES", "--out", "RUN", "--precision", "fp7"]


def no_run(_: Path) -> list[object]:
    return ["verify", "nothing-here"]


def annotations_of_other_images(folder: Path) -> list[object]:
    document = {
        "images": [{"id": 1, "file_name": "else.jpg", "width": 1, "height": 1}],
        "annotations": [],
        "categories": [{"id": 3, "name": "thing_3"}],
    }
    (folder / "other.json").write_text(json.dumps(document))
    return ["run", "IMAGES", "--annotations", "other.json", "--out", "RUN"]


def annotations_of_other_categories(folder: Path) -> list[object]:
    document = {"images": [], "annotations": [], "categories": [{"id": 3, "name": "cat"}]}
    (folder / "other.json").write_text(json.dumps(document))
    return ["run", "IMAGES", "--annotations", "other.json", "--out", "RUN"]


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (missing_input, "none.jpg' does not exist"),
        (empty_folder, "'nothing' holds no image"),
        (truncated_annotations, "cut.json: ends in the middle of images[0], after 12 bytes"),
        (missing_annotations, "none.json' cannot be read"),
        (unknown_weights, "'nonesuch'"),
        (checkpoint_of_another_model, "other.pth"),
        (out_inside_a_file, "file/RUN"),
        (
            unknown_config_key,
            "settings.yaml:2: unknown key 'batchsize'; did you mean 'batch_size'?",
        ),
        (wrong_config_value, "settings.toml:2: limit: must be a whole number, not 'few'"),
        (wrong_option_value, "--precision: must be 'auto', 'fp32', 'bf16' or 'fp16', not 'fp7'"),
        (no_run, "is no run directory"),
        (annotations_of_other_images, "of the run's 20 images, 20 have no entry"),
        (annotations_of_other_categories, "1 of 1 category ids have another name"),
    ],
)
def test_what_cannot_work_is_one_clear_line_exit_code_2_and_no_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    images: Path,
    tiny_weights: Path,
    prepare: Callable[[Path], list[object]],
    expected: str,
):
    arguments = [images if word == "IMAGES" else word for word in prepare(tmp_path)]
    if arguments[0] in {"detect", "run"} and "--weights" not in arguments:
        arguments += ["--weights", tiny_weights]

    monkeypatch.chdir(tmp_path)

    code = main([str(word) for word in arguments])

    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert not (tmp_path / "RUN").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nonesuch"], "No such command 'nonesuch'"),
        (["detect", "--bogus"], "No such option: --bogus"),
        (["detect", "x", "--limit"], "Option '--limit' requires an argument"),
        (["detect", "x", "--out", "R", "--limit", "few"], "--limit: must be a whole number, not"),
        (["detect", "x"], "error: --out is missing\n"),
        (["detect", "--out", "RUN"], "error: INPUT is missing\n"),
        (["train"], "error: --images, --annotations and --out are missing\n"),
        (["verify"], "error: RUN is missing\n"),
        (["bpr"], "error: ANNOTATIONS is missing\n"),
        (
            ["bpr", "A", "--size-ranges", "8"],
            "error: No such option: --size-ranges; set size_ranges in the file of --config\n",
        ),
        (["evaluate", "--annotations", "a.json"], "give either a run directory or --results FILE"),
    ],
)
def test_a_usage_error_is_one_line_too(
    capfd: pytest.CaptureFixture[str], arguments: list[str], expected: str
):
    code = main(arguments)

    out, err = capfd.readouterr()
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")
    assert expected in err


@pytest.mark.command
def test_a_process_of_its_own_exits_with_the_code_and_writes_one_line(tmp_path: Path):
    done = fcos(*unknown_config_key(tmp_path), cwd=tmp_path)

    assert (done.code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")


def test_a_bug_is_not_swallowed(monkeypatch: pytest.MonkeyPatch):
    def broken(_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("jobs.verify.run", broken)
    with pytest.raises(TypeError, match="a bug"):
        main(["verify", "RUN"])


@pytest.mark.command
def test_the_version_and_a_list_of_commands_are_shown(tmp_path: Path):
    assert fcos("--version", cwd=tmp_path).stdout.startswith("fcos-batch ")
    assert "evaluate" in fcos(cwd=tmp_path).stdout, "no command at all gives the help"


@pytest.mark.command
def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path, shared_data: Path):
    folder = shared_data / "coco_results"
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as nobody_reads:
        done = fcos(
            *("evaluate", "--results", folder / "instances_val2014_fakebbox100_results.json"),
            *("--annotations", folder / "instances_val2014_100.json"),
            cwd=tmp_path,
            stdout=nobody_reads,
        )
    assert done.code == DONE
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_the_published_results_are_scored_on_stdout_and_shown_on_stderr(
    tmp_path: Path, shared_data: Path, capfd: pytest.CaptureFixture[str]
):
    folder = shared_data / "coco_results"
    scores = tmp_path / "scores.json"

    code = main(
        [
            *("evaluate", "--results", str(folder / "instances_val2014_fakebbox100_results.json")),
            *("--annotations", str(folder / "instances_val2014_100.json"), "--out", str(scores)),
        ]
    )

    out, err = capfd.readouterr()
    assert code == 0
    (line,) = out.splitlines()
    result = json.loads(line)
    assert result["AP"] == pytest.approx(0.504581, abs=5e-7)
    assert result["paths"] == {"metrics": str(scores)}
    assert json.loads(scores.read_text())["AP"] == result["AP"]
    assert "0.5046" in err
    assert "100 images, 830 objects, 9 crowds, 734 detections" in err


@pytest.mark.ray
def test_a_run_is_interrupted_resumed_verified_and_scored(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    images: Path,
    tiny_weights: Path,
):
    annotations = annotate(tmp_path, images)
    (tmp_path / "settings.yaml").write_text("shard_size: 4\nnum_actors: 1\nthreads_per_actor: 1\n")
    command = [
        *("run", images, "--annotations", annotations, "--out", "RUN"),
        *("--weights", tiny_weights, "--config", "settings.yaml"),
    ]
    run = RunDirectory(str(tmp_path / "RUN"))

    # As a scheduler ends it, while it starts Ray: tests/end_to_end/test_kills.py does it later.
    with started(*command, cwd=tmp_path) as driver:
        driver.wait_until(run.exists)
        descendants = children_below(driver.pid)
        driver.send(signal.SIGTERM)
        interrupted = driver.finish()
    assert (interrupted.code, interrupted.stdout) == (INTERRUPTED, ""), interrupted.stderr
    assert "Traceback" not in interrupted.stderr
    assert interrupted.stderr.splitlines()[-1].startswith("error: interrupted")
    wait_until(lambda: all(is_gone(pid) for pid in descendants))

    result = fcos(*command, cwd=tmp_path).result()
    assert result["run"] == run.uri
    assert (result["planned"], result["ok"], result["quarantined"]) == (20, 18, 2)
    assert (result["missing"], result["duplicated"], result["skipped"]) == (0, 0, 0)
    metrics = json.loads((tmp_path / "RUN/evaluation/metrics.json").read_text())
    assert result["AP"] == metrics["AP"] >= 0
    assert metrics["counts"]["quarantined"] == 2
    assert result["paths"]["metrics"] == run.evaluation_uri("metrics.json")

    # What follows needs no workers, and so no process of its own.
    monkeypatch.chdir(tmp_path)

    def say(*arguments: object) -> tuple[int, dict[str, Any], str]:
        code = main([str(word) for word in arguments])
        out, err = capfd.readouterr()
        return code, json.loads(out or "{}"), err

    code, verified, _ = say("verify", "RUN")
    assert code == 0
    assert verified["digest"] == result["digest"] == metrics["digest"]

    code, too_bad, err = say(*command, "--max-bad", "5%")
    assert code == 3
    assert "error: 2 of 20 rows are quarantined, --max-bad 5% allows 1" in err
    assert too_bad["digest"] == result["digest"]
    assert "AP" not in too_bad, "the steps after a failed one are not taken"

    (tmp_path / "RUN/detections/000000/shard-000002.parquet").unlink()
    code, verified, err = say("verify", "RUN")
    assert code == 3
    assert "shard-000002.parquet" in err
    assert (verified["missing"], verified["digest"]) == (4, None)

    code, refused, err = say("evaluate", "RUN", "--annotations", annotations)
    assert (code, refused) == (3, {})
    assert "4 of 20 rows are missing" in err
    code, allowed, _ = say("evaluate", "RUN", "--annotations", annotations, "--allow-incomplete")
    assert code == 0
    assert (allowed["missing"], allowed["complete"]) == (4, False)


def test_videos_of_one_name_have_a_line_each_and_numbers_are_never_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    one = {"frames": 123_456, "quarantined": 0, "missing": 0, "frames_per_s": 9.5}
    name = "camera-2026-11-30-entrance-north.mp4"
    videos = [{"video": f"/data/{day}/{name}", **one} for day in ("monday", "tuesday")]
    show_videos({"videos": 3, "per_video": videos})
    shown = capsys.readouterr().err
    assert shown.count("123456") == 2
    assert "and 1 more video\n" in shown
