"""One run against another: the differences, how sure they are, and the images behind them."""

import json
from pathlib import Path

import pytest

from fcos_core.errors import ConfigError
from jobs import evaluate
from jobs.cli.commands import main
from jobs.evaluate import EvaluateConfig
from tests.jobs.scoring.runs import CAT_BOX, HIT, Image, make_run, write_annotations


def two_runs(tmp_path: Path) -> tuple[str, str, str]:
    """The second run finds the cat of a.jpg as well, and sees one that is not there on c.jpg."""
    names = {5: "a.jpg", 6: "b.jpg", 7: "c.jpg"}
    annotations = write_annotations(tmp_path, names, [(5, 1, CAT_BOX), (6, 1, CAT_BOX)])
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    empty = [Image("/d/c.jpg", [])]
    one = [Image("/d/a.jpg", []), Image("/d/b.jpg", [HIT]), *empty]
    ghost = [Image("/d/c.jpg", [(1, 0.95, [10.0, 10.0, 60.0, 60.0])])]
    two = [Image("/d/a.jpg", [HIT]), Image("/d/b.jpg", [HIT]), *ghost]
    return make_run(tmp_path / "one", one), make_run(tmp_path / "two", two), annotations


def test_differences_are_the_other_runs_numbers_minus_this_ones(tmp_path: Path):
    one, two, annotations = two_runs(tmp_path)
    own = evaluate.run(EvaluateConfig(run=two, annotations=annotations)).metrics
    metrics = evaluate.run(
        EvaluateConfig(run=one, annotations=annotations, against=two, resamples=50)
    ).metrics
    told = metrics["comparison"]
    for name in ("AP", "AP50", "AR100"):
        assert told["numbers"][name] == [metrics[name], own[name]]
        assert told["overall"][name]["difference"] == own[name] - metrics[name]
    assert told["overall"]["AR100"]["difference"] == pytest.approx(0.5)
    assert told["resamples"] == 50
    assert [row["image_id"] for row in told["images"]["better"]] == [5]
    assert [row["image_id"] for row in told["images"]["worse"]] == [7]
    json.dumps(metrics, allow_nan=False)


def test_a_run_against_itself_differs_in_nothing(tmp_path: Path):
    one, _, annotations = two_runs(tmp_path)
    metrics = evaluate.run(EvaluateConfig(run=one, annotations=annotations, against=one)).metrics
    told = metrics["comparison"]
    assert told["overall"]["AP"]["difference"] == 0
    assert told["overall"]["AP"]["low"] == told["overall"]["AP"]["high"] == 0
    assert told["images"] == {"better": [], "worse": []}


def test_runs_over_other_images_are_not_compared(tmp_path: Path):
    one, _, annotations = two_runs(tmp_path)
    (tmp_path / "less").mkdir()
    less = make_run(tmp_path / "less", [Image("/d/a.jpg", [HIT])])
    with pytest.raises(ConfigError, match="not the same images: 3 and 1, 1 of them in both"):
        evaluate.run(EvaluateConfig(run=one, annotations=annotations, against=less))


def test_the_command_shows_both_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    one, two, annotations = two_runs(tmp_path)
    command = ["evaluate", one, "--annotations", annotations, "--against", two]
    assert main([*command, "--resamples", "20"]) == 0
    _, err = capfd.readouterr()
    assert "Compared with the other run" in err
    assert "+0.5000" in err
    assert (
        main(["evaluate", "--results", "r.json", "--annotations", annotations, "--against", two])
        == 2
    )
    assert "--against compares two runs" in capfd.readouterr().err


def test_a_damaged_run_to_compare_with_is_refused_before_anything_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one, two, annotations = two_runs(tmp_path)
    record = Path(two) / "run.json"
    record.write_bytes(record.read_bytes()[:50])
    monkeypatch.setattr(evaluate, "score", lambda *_: pytest.fail("a run was scored"))
    with pytest.raises(ConfigError, match=r"two.*run.json' is damaged"):
        evaluate.run(EvaluateConfig(run=one, annotations=annotations, against=two))
