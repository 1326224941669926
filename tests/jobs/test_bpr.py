"""``fcos bpr`` over whole files: equal to the dense oracle, in any blocks, with and without Ray."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fcos_core.errors import ConfigError
from fcos_core.metrics.bpr import AnchorRule, Cause, named_rule, rule_names
from jobs import bpr
from jobs.annotations.coco_json import load_annotations
from jobs.bpr import BprConfig, chosen_rules
from jobs.cli.commands import main
from jobs.rundir.schemas import LOST_BOXES
from tests.fcos_core.metrics.bpr.reference import dense_anchors, dense_locations

FILES = {
    "train2017": "coco_tiny/annotations/instances_train2017.json",
    "val2017": "coco_tiny/annotations/instances_val2017.json",
    "val2014": "coco_results/instances_val2014_100.json",
}


def dense_counts(path, rule, *, max_images):
    """What the slow loops make of a file: counts by cause, samples, and who lost to whom."""
    boxes = load_annotations(str(path))
    causes = np.zeros(len(Cause), int)
    samples = np.zeros(3, int)
    lost = {}
    for image in boxes.images[:max_images]:
        mine = np.flatnonzero((boxes.box_image_ids == image.id) & ~boxes.is_crowd)
        size = (image.height, image.width)
        own = [tuple(box) for box in boxes.boxes[mine].tolist()]
        if isinstance(rule, AnchorRule):
            dense = dense_anchors(own, size, rule)
        else:
            dense = dense_locations(own, boxes.labels[mine].tolist(), size, rule)
        causes += np.bincount(dense.causes, minlength=len(Cause))
        samples += [dense.num_kept.sum(), dense.num_ambiguous.sum(), dense.num_cross_class.sum()]
        ids = boxes.ids[mine].tolist()
        for box, cause in enumerate(dense.causes):
            if cause != Cause.RECALLED:
                takers = sorted(dense.takers.get(box, {}))
                lost[ids[box]] = (cause.name.lower(), {ids[taker] for taker in takers})
    return causes, samples, lost


def assert_equal_to_dense(path, tmp_path, names, *, max_images):
    out = tmp_path / "bpr.json"
    first = tmp_path / "first.json"
    document = json.loads(path.read_text())
    document["images"] = document["images"][:max_images]
    kept = {image["id"] for image in document["images"]}
    document["annotations"] = [a for a in document["annotations"] if a["image_id"] in kept]
    first.write_text(json.dumps(document))
    bpr.run(BprConfig(annotations=str(first), rules=names, out=str(out), num_actors=1))
    rules = json.loads(out.read_text())["rules"]
    lost = pq.read_table(tmp_path / "bpr.lost_boxes.parquet")
    assert lost.schema.equals(LOST_BOXES)
    for name in names:
        causes, samples, expected_lost = dense_counts(path, named_rule(name), max_images=max_images)
        found = rules[name]
        assert found["total"] == causes.sum()
        assert found["recalled"] == causes[Cause.RECALLED]
        assert found["bpr"] == causes[Cause.RECALLED] / causes.sum()
        assert found["lost"] == {cause: causes[Cause[cause.upper()]] for cause in found["lost"]}
        assert found["positives"] == samples[0]
        if not name.startswith("retinanet"):
            assert found["ambiguous_ratio"] == samples[1] / samples[0]
            assert found["ambiguous_ratio_cross_class"] == samples[2] / samples[0]
        rows = [row for row in lost.to_pylist() if row["rule"] == name]
        assert {
            row["annotation_id"]: (row["cause"], set(row["taken_by"])) for row in rows
        } == expected_lost
        assert len(rows) == len(expected_lost)


@pytest.mark.parametrize("file", FILES)
def test_real_annotations_give_the_counts_of_the_dense_oracle(
    file: str, tmp_path: Path, shared_data: Path
):
    assert_equal_to_dense(shared_data / FILES[file], tmp_path, rule_names(), max_images=4)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_whole_files_give_the_counts_of_the_dense_oracle(
    file: str, tmp_path: Path, shared_data: Path
):
    assert_equal_to_dense(shared_data / FILES[file], tmp_path, rule_names(), max_images=10**6)


def write_annotations(path, *, num_images=40, seed=0, shuffled=False):
    """A file of crowded little images, some boxes of which are crowd regions."""
    random = np.random.default_rng(seed)
    images = [
        {"id": 10 * i, "width": int(w), "height": int(h), "file_name": f"{i:03d}.jpg"}
        for i, (w, h) in enumerate(random.integers(30, 400, (num_images, 2)))
    ]
    annotations = []
    for image in images[:-1]:
        for _ in range(random.integers(0, 9)):
            x, y = random.integers(0, 300, 2)
            w, h = np.round(np.exp(random.uniform(0, 5.5, 2)), 1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": int(random.integers(1, 4)) * 7,
                    "bbox": [float(x), float(y), float(w), float(h)],
                    "area": float(w * h) / 2,
                    "iscrowd": int(random.random() < 0.1),
                }
            )
    if shuffled:
        random.shuffle(annotations)
    categories = [{"id": 7 * i, "name": f"kind {i}"} for i in (1, 2, 3)]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return path


def measured(annotations, out, **settings):
    bpr.run(BprConfig(annotations=str(annotations), out=str(out), **settings))
    return json.loads(out.read_text())["rules"], pq.read_table(
        str(out).removesuffix(".json") + ".lost_boxes.parquet"
    )


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_blocks_and_workers_do_not_change_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_annotations(tmp_path / "a.json", num_images=120)
    whole, lost = measured(path, tmp_path / "whole.json", num_actors=1)
    monkeypatch.setattr(bpr, "_BOXES_PER_BLOCK", 7)
    in_blocks, lost_in_blocks = measured(path, tmp_path / "blocks.json", num_actors=1)
    by_ray, lost_by_ray = measured(path, tmp_path / "ray.json", num_actors=2)
    assert whole == in_blocks == by_ray
    assert len(lost) > 20
    assert lost.equals(lost_in_blocks)
    assert lost.equals(lost_by_ray)


def test_annotations_need_not_be_sorted_by_image(tmp_path: Path):
    path = write_annotations(tmp_path / "a.json")
    document = json.loads(path.read_text())
    expected, _ = measured(path, tmp_path / "sorted.json", num_actors=1)
    # Interleaved, but in the same order within each image, which decides between equals.
    document["annotations"].sort(key=lambda a: a["id"] % 5)
    document["annotations"].sort(key=lambda a: (a["id"] * 7919) % 11)
    by_image: dict[int, list] = {}
    for annotation in sorted(document["annotations"], key=lambda a: a["id"]):
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    document["annotations"] = [by_image[a["image_id"]].pop(0) for a in document["annotations"]]
    path.write_text(json.dumps(document))
    assert measured(path, tmp_path / "mixed.json", num_actors=1)[0] == expected


def test_crowd_regions_count_for_nothing(tmp_path: Path):
    path = write_annotations(tmp_path / "a.json")
    document = json.loads(path.read_text())
    crowds = [a for a in document["annotations"] if a["iscrowd"]]
    assert crowds
    expected, _ = measured(path, tmp_path / "with.json", num_actors=1)
    document["annotations"] = [a for a in document["annotations"] if not a["iscrowd"]]
    path.write_text(json.dumps(document))
    assert measured(path, tmp_path / "without.json", num_actors=1)[0] == expected


def test_custom_rules_stand_beside_named_ones():
    def names(**settings):
        return [rule.name for rule in chosen_rules(BprConfig(annotations="a", **settings))]

    assert names() == ["paper", "improved", "torchvision"]
    assert names(rules=("paper", "paper-p4", "paper")) == ["paper", "paper-p4"]
    assert names(strides=(8, 16)) == ["custom"]
    assert names(rules=("improved", "custom"), center_radius=1.0) == ["improved", "custom"]
    config = BprConfig(annotations="a", strides=(16,), size_ranges=((-1, math.inf),))
    assert chosen_rules(config)[0].encoding == named_rule("paper-p4").encoding
    with pytest.raises(ConfigError, match="rule 'custom': must be one of"):
        names(rules=("custom",))


def test_the_command_measures_a_custom_rule_of_the_config_file(tmp_path: Path, capfd):
    path = write_annotations(tmp_path / "a.json", num_images=3)
    (tmp_path / "rule.yaml").write_text("strides: [16]\nsize_ranges: [[-1, .inf]]\n")
    (tmp_path / "rule.toml").write_text("strides = [16]\nsize_ranges = [[-1, inf]]\n")
    recalled = []
    for options in (["--rule", "paper-p4"], ["--config", "rule.yaml"], ["--config", "rule.toml"]):
        words = [str(tmp_path / word) if word.startswith("rule.") else word for word in options]
        assert main(["bpr", str(path), *words]) == 0
        (numbers,) = json.loads(capfd.readouterr().out)["rules"].values()
        recalled.append(numbers)
    assert recalled[0] == recalled[1] == recalled[2]


def entry(**changes):
    return {"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40], **changes}


MALFORMED = {
    "no width": ({"images": [{"id": 1, "height": 9}]}, "images[0] (id 1): width is missing"),
    "negative box": ([entry(bbox=[1, 2, -3, 4])], "annotations[0] (id 5): bbox is [1, 2, -3, 4]"),
    "NaN box": ([entry(bbox=[1, float("nan"), 3, 4])], "annotations[0] (id 5): bbox is [1, nan"),
    "misspelt crowd": ([entry(is_crowd=1)], "annotations[0] (id 5): has is_crowd"),
    "id twice": ([entry(), entry()], "annotations[1] (id 5): id 5 is also that of annotations[0]"),
    "id of letters": ([entry(id="5")], "annotations[0] (id '5'): id is '5'"),
    "unknown category": ([entry(category_id=4)], "annotations[0] (id 5): category_id 4 is not"),
    "unknown image": ([entry(image_id=2)], "annotations[0] (id 5): image_id 2 is not among"),
}


def write_malformed(path, broken):
    changes = broken if isinstance(broken, dict) else {"annotations": broken}
    document = {
        "images": [{"id": 1, "width": 640, "height": 480}],
        "annotations": [entry()],
        "categories": [{"id": 3, "name": "cat"}],
    }
    path.write_text(json.dumps(document | changes))


@pytest.mark.parametrize(("broken", "line"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_entry_gets_one_line_that_names_it(
    broken, line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    path = tmp_path / "bad.json"
    write_malformed(path, broken)
    assert main(["bpr", str(path)]) == 2
    out, err = capfd.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert f"{path}: {line}" in err


@pytest.mark.parametrize(("broken", "line"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_entries_are_left_out_counted_and_listed_when_asked(
    broken, line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    path = tmp_path / "bad.json"
    write_malformed(path, broken)
    assert main(["bpr", str(path), "--skip-invalid", "--out", str(tmp_path / "bpr.json")]) == 0
    out, err = capfd.readouterr()
    result = json.loads(out)
    # An image that is left out takes its box with it.
    num_invalid = 2 if isinstance(broken, dict) else 1
    assert result["invalid"] == num_invalid
    left = 1 if broken is MALFORMED["id twice"][0] else 0
    assert result["rules"]["paper"]["total"] == left
    assert f"left out: {line}" in " ".join(err.split())
    listed = json.loads((tmp_path / "bpr.json").read_text())["invalid"]
    assert listed["count"] == num_invalid
    assert listed["entries"][0].startswith(line)


def test_a_file_cut_off_in_the_middle_is_refused_even_when_entries_may_be_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    path = write_annotations(tmp_path / "a.json")
    path.write_bytes(path.read_bytes()[:-500])
    assert main(["bpr", str(path), "--skip-invalid"]) == 2
    out, err = capfd.readouterr()
    assert not out
    assert "annotations[" in err
    assert err.count("\n") == 1


REFUSED = {
    "no file": (["bpr"], "ANNOTATIONS is missing"),
    "unknown rule": (["bpr", "A", "--rule", "papr"], "rule 'papr': must be one of paper, paper-p4"),
    "two places": (["bpr", "A", "--run", "R", "--out", "F"], "give either --run or --out FILE"),
    "no run": (["bpr", "A", "--run", "nowhere"], "is no run directory"),
}


@pytest.mark.parametrize(("arguments", "line"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_gets_one_line(
    arguments: list[str], line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    path = write_annotations(tmp_path / "a.json", num_images=3)
    assert main([str(path) if word == "A" else word for word in arguments]) == 2
    out, err = capfd.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert line in err


def test_a_file_without_boxes_gives_undefined_shares(tmp_path: Path, capfd):
    path = tmp_path / "empty.json"
    path.write_text('{"images": [], "annotations": [], "categories": []}')
    assert main(["bpr", str(path)]) == 0
    assert json.loads(capfd.readouterr().out)["rules"]["paper"]["bpr"] == -1
