"""Frames of videos are scored as images are, apart from them, and none goes unnoticed."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fcos_core.errors import ConfigError, IncompleteRunError
from fcos_core.metrics.coco import METRIC_NAMES
from jobs.bpr import BprConfig
from jobs.bpr import run as bpr
from jobs.cli.commands import main
from jobs.cli.tables import show_videos
from jobs.evaluate import EvaluateConfig, EvaluateResult
from jobs.evaluate import run as evaluate
from jobs.scoring import blocks
from tests.fcos_core.metrics.judge import plain_pycocotools
from tests.jobs.scoring.runs import CAT_BOX, HIT, PERFECT, Detection
from tests.jobs.scoring.videos import (
    Clip,
    Entry,
    Still,
    frame,
    make_mixed_run,
    still,
    write_entries,
)

MISS: Detection = (1, 0.8, [60.0, 10.0, 80.0, 30.0])


def scored(run: str, annotations: str, **settings) -> EvaluateResult:
    return evaluate(EvaluateConfig(run=run, annotations=annotations, **settings))


def test_worked_example_of_an_image_and_a_video_in_one_file(tmp_path: Path):
    # The image's cat is found; of the cats of four frames two, and one frame is lost.
    clip = Clip("/d/clip.mp4", [[0, 1], [2, 3]], {0: [HIT], 2: [HIT], 3: [MISS]}, lost=[(1, 1)])
    run = make_mixed_run(tmp_path, [Still("/d/a.jpg", [HIT]), clip])
    images = [still(7, "a.jpg"), *(frame(30 - i, "clip.mp4", i) for i in range(4))]
    cats = [(image["id"], 1, CAT_BOX) for image in images]
    annotations = write_entries(tmp_path, images, cats)

    result = scored(run, annotations)

    assert result.headline["AP"] == PERFECT
    assert result.metrics["counts"]["images"] == 1
    assert result.metrics["counts"]["quarantined"] == 0
    video = result.metrics["video"]
    assert video["AR100"] == 0.5
    assert video["AP"] == pytest.approx(51 / 101)  # the miss ranks below both hits
    assert video["counts"] == {
        "frames": 4, "videos": 1, "quarantined": 1, "missing": 0, "sampled_away": 0,
        "beyond_end": 0, "not_in_run": 0, "size_mismatches": 0, "objects": 4, "crowds": 0,
        "detections": 3, "detections_of_other_categories": 0,
    }  # fmt: skip
    summary = json.loads(json.dumps(result.summary()))
    assert list(summary["video"])[:12] == list(METRIC_NAMES)
    assert (summary["AP"], summary["video"]["AR100"]) == (PERFECT, 0.5)
    assert (summary["images"], summary["video"]["frames"]) == (1, 4)
    table = pq.read_table(tmp_path / "RUN/evaluation/video/per_category.parquet")
    assert table.to_pylist() == video["per_category"]
    assert {name for name in result.paths if name.startswith("video/")} == {
        "video/per_category", "video/per_area", "video/confusion", "video/curves",
    }  # fmt: skip


@pytest.fixture(scope="module")
def random_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, list[Entry]]:
    """Two videos and five images in shards of three items; annotated ids in no order."""
    folder = tmp_path_factory.mktemp("random")
    random = np.random.default_rng(5)
    ids = random.permutation(np.arange(100, 200)).tolist()

    def found() -> list[Detection]:
        corners = random.random((6, 2)) * 40
        return [
            (int(random.choice([1, 3])), float(np.float32(random.integers(1, 9) / 10)), box)
            for box in np.concatenate([corners, corners + 20 + random.random((6, 2)) * 20], 1)
            .astype(np.float32)
            .tolist()
        ]

    clips = [
        Clip("/d/a/clip.mp4", [range(9), range(9, 16), range(16, 30)], lost=[(10, 12)]),
        Clip("/d/b/clip.mp4", [range(20)]),
    ]
    results: list[Entry] = []
    images: list[Entry] = []
    sources: list[Clip | Still] = []
    for name in "vwxyz":
        images.append(still(ids.pop(), f"{name}.jpg"))
        sources.append(Still(f"/d/{name}.jpg", found()))
    for clip in clips:
        clip.detections = {}
        for segment in clip.segments or ():
            for place in segment:
                images.append(frame(ids.pop(), clip.uri[3:], place))
                clip.detections[place] = found()
                if not 10 <= place <= 12 or clip is clips[1]:
                    results += _results(images[-1]["id"], clip.detections[place])
    boxes = [
        (image["id"], int(random.choice([1, 3])), [*(random.random(2) * 40).tolist(), 30.0, 25.0])
        for image in images
        for _ in range(3)
    ]
    annotations = write_entries(folder, images, boxes)
    mixed = [sources[0], clips[0], *sources[1:3], clips[1], *sources[3:]]
    return make_mixed_run(folder, mixed, per_shard=3), annotations, results


def _results(image_id: int, found: list[Detection]) -> list[Entry]:
    ordered = sorted(found, key=lambda one: (-one[1], one[0], one[2]))
    return [
        {"image_id": image_id, "category_id": id_, "score": score,
         "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]]}
        for id_, score, box in ordered
    ]  # fmt: skip


def test_frames_score_as_pycocotools_scores_them_to_the_last_bit(
    random_run: tuple[str, str, list[Entry]],
):
    run, annotations, results = random_run
    dataset = json.loads(Path(annotations).read_text())
    dataset["images"] = [image for image in dataset["images"] if "video" in image]
    ids = {image["id"] for image in dataset["images"]}
    dataset["annotations"] = [
        {**one, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0}
        for one in dataset["annotations"]
        if one["image_id"] in ids
    ]

    video = scored(run, annotations).metrics["video"]

    judge = plain_pycocotools(dataset, sorted(results, key=lambda one: one["image_id"]))
    assert [video[name] for name in METRIC_NAMES] == judge.stats.tolist()
    assert 0 < video["AP"] < 1
    assert video["counts"]["quarantined"] == 3
    assert video["counts"]["frames"] == 50


def test_images_and_frames_score_alike_in_any_blocks(
    random_run: tuple[str, str, list[Entry]], monkeypatch: pytest.MonkeyPatch
):
    run, annotations, _ = random_run
    whole = scored(run, annotations).metrics
    assert whole["counts"]["images"] == 5
    for size in (1, 17):
        monkeypatch.setattr(blocks, "_IMAGES_PER_BLOCK", size)
        assert scored(run, annotations).metrics == whole


def test_frames_that_were_not_asked_for_are_counted_and_not_missed(tmp_path: Path):
    clip = Clip("/d/c.mp4", [[0, 2], [4, 6]], {i: [HIT] for i in range(0, 8, 2)}, is_sampled=True)
    run = make_mixed_run(tmp_path, [clip])
    images = [frame(i + 1, "c.mp4", i) for i in range(9)] + [frame(50, "other.mp4", 0)]
    annotations = write_entries(tmp_path, images, [(i + 1, 1, CAT_BOX) for i in range(9)])

    result = scored(run, annotations)

    assert result.video["AP"] == PERFECT
    counts = result.metrics["video"]["counts"]
    assert (counts["frames"], counts["sampled_away"], counts["not_in_run"]) == (4, 5, 1)
    assert counts["beyond_end"] == 0
    assert result.headline["AP"] == -1, "there are no images"
    assert result.metrics["counts"]["images"] == 0


def test_frames_behind_the_end_of_a_video_that_was_cut_off_are_told(tmp_path: Path):
    run = make_mixed_run(tmp_path, [Clip("/d/c.mp4", [range(3)], {0: [HIT]})])
    images = [frame(i + 1, "c.mp4", i) for i in range(5)]
    counts = scored(run, write_entries(tmp_path, images, [])).metrics["video"]["counts"]
    assert (counts["frames"], counts["beyond_end"], counts["sampled_away"]) == (3, 2, 0)


def test_all_annotated_frames_of_a_video_of_no_use_count_as_without_detections(tmp_path: Path):
    sources = [Clip("/d/bad.mp4", None), Clip("/d/good.mp4", [[0, 1]], {0: [HIT], 1: [HIT]})]
    run = make_mixed_run(tmp_path, sources, per_shard=2)
    images = [frame(i + 1, "bad.mp4", i + 5) for i in range(6)]
    images += [frame(10, "good.mp4", 0), frame(11, "good.mp4", 1)]
    annotations = write_entries(tmp_path, images, [(i["id"], 1, CAT_BOX) for i in images])

    video = scored(run, annotations).video

    assert (video["frames"], video["quarantined"], video["objects"]) == (8, 6, 8)
    assert video["AR100"] == 0.25


def test_frames_of_a_missing_shard_are_refused_or_count_as_without_detections(tmp_path: Path):
    clip = Clip("/d/c.mp4", [[0, 1], [2, 3]], {i: [HIT] for i in range(4)})
    run = make_mixed_run(tmp_path, [Still("/d/a.jpg", [HIT]), clip], without=[2])
    images = [still(9, "a.jpg"), *(frame(i + 1, "c.mp4", i) for i in range(4))]
    annotations = write_entries(tmp_path, images, [(i["id"], 1, CAT_BOX) for i in images])
    with pytest.raises(IncompleteRunError, match="2 of 5 rows are missing"):
        scored(run, annotations)
    result = scored(run, annotations, allow_incomplete=True)
    assert (result.metrics["counts"]["missing"], result.video["missing"]) == (0, 2)
    assert (result.headline["AR100"], result.video["AR100"]) == (1.0, 0.5)
    assert result.video["quarantined"] == 0


CLIP = Clip("/d/a/c.mp4", [range(3)])


@pytest.mark.parametrize(
    ("sources", "images", "line"),
    [
        pytest.param(
            [CLIP, Clip("/d/b/d.mp4", [range(2)])],
            [frame(i + 1, "c.mp4", i) for i in range(3)],
            "of the run's 2 videos, 1 has no entry with its video, such as /d/b/d.mp4",
            id="a video that nobody annotated",
        ),
        pytest.param(
            [CLIP],
            [frame(i + 1, "c.mp4", i) for i in range(2)],
            "of the run's 3 frames, 1 has no entry with its video and frame_index, such as "
            "frame 2 of /d/a/c.mp4",
            id="a frame that nobody annotated",
        ),
        pytest.param(
            [CLIP, Clip("/d/b/c.mp4", [range(3)])],
            [frame(i + 1, "c.mp4", i) for i in range(3)],
            "of the run's 2 videos, 2 share an entry or match several by video, such as "
            "/d/a/c.mp4, /d/b/c.mp4",
            id="a name that two videos have",
        ),
        pytest.param(
            [CLIP],
            [frame(1, "c.mp4", 0), frame(2, "a/c.mp4", 1)],
            "1 shares an entry or matches several by video",
            id="two names of one video",
        ),
        pytest.param(
            [CLIP],
            [frame(i + 1, "c.mp4", min(i, 2)) for i in range(4)],
            "of the run's 3 frames, 1 shares an entry or matches several by video and frame_index, "
            "such as frame 2 of",
            id="two entries of one frame",
        ),
        pytest.param(
            [CLIP, Still("/d/a.jpg")],
            [{**frame(i + 1, "c.mp4", i), "file_name": "a.jpg" if i == 1 else "x.jpg"}
             for i in range(3)],
            "1 images are an image of the run by file_name and a frame of its videos by video, "
            "such as image 2",
            id="an entry that is both",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_clearly_is_refused(
    tmp_path: Path, sources: list[Clip | Still], images: list[Entry], line: str
):
    run = make_mixed_run(tmp_path, sources)
    with pytest.raises(ConfigError) as caught:
        scored(run, write_entries(tmp_path, images, []))
    assert line in str(caught.value)
    assert not (tmp_path / "RUN/evaluation").exists()


def test_equal_names_in_two_folders_join_by_folder_however_they_are_written(tmp_path: Path):
    one, two = Clip("/d/a/c.mp4", [[0]], {0: [HIT]}), Clip("/d/b/c.mp4", [[0, 1]])
    run = make_mixed_run(tmp_path, [one, two])
    images = [frame(1, "b/c.mp4", 0), frame(2, "./a//c.mp4", 0), frame(3, "../b/c.mp4", 1)]
    video = scored(run, write_entries(tmp_path, images, [(2, 1, CAT_BOX)])).video
    assert (video["AP"], video["frames"], video["videos"]) == (PERFECT, 3, 2)


def test_a_file_about_images_alone_leaves_videos_out_and_says_so_and_the_other_way_round(
    tmp_path: Path,
):
    sources = [Still("/d/a.jpg", [HIT]), Clip("/d/c.mp4", [[0, 1]], {0: [HIT], 1: [HIT]})]
    run = make_mixed_run(tmp_path, sources)
    result = scored(run, write_entries(tmp_path, [still(5, "a.jpg")], [(5, 1, CAT_BOX)]))
    assert result.headline["AP"] == PERFECT
    assert result.metrics["counts"]["frames_not_annotated"] == 2
    assert "video" not in result.summary()

    images = [frame(1, "c.mp4", 0), frame(2, "c.mp4", 1)]
    result = scored(run, write_entries(tmp_path, images, [(1, 1, CAT_BOX), (2, 1, CAT_BOX)]))
    assert (result.headline["AP"], result.video["AP"]) == (-1, PERFECT)
    assert result.metrics["counts"]["images_not_annotated"] == 1
    assert result.metrics["counts"]["images"] == 0


def test_entries_that_are_an_image_and_a_frame_join_what_the_run_looked_at(tmp_path: Path):
    """TAO's entries name an extracted image, and the video it is from."""
    both = [{**frame(i + 1, "v/c.mp4", i), "file_name": f"v/{i:04d}.jpg"} for i in range(2)]
    cats = [(1, 1, CAT_BOX), (2, 1, CAT_BOX)]
    annotations = write_entries(tmp_path, both, cats)
    stills = make_mixed_run(
        tmp_path / "stills", [Still(f"/d/v/{i:04d}.jpg", [HIT]) for i in (0, 1)]
    )
    frames = make_mixed_run(tmp_path / "frames", [Clip("/d/v/c.mp4", [[0, 1]], {0: [HIT]})])
    result = scored(stills, annotations)
    assert (result.headline["AP"], result.video) == (PERFECT, {})
    result = scored(frames, annotations)
    assert (result.headline["AP"], result.video["AR100"]) == (-1, 0.5)
    assert result.metrics["counts"]["not_in_run"] == 0


def test_two_runs_are_compared_by_frame_without_intervals(tmp_path: Path):
    clips = [Clip("/d/c.mp4", [[0, 1]], {0: [HIT]}), Clip("/d/c.mp4", [[0, 1]], {1: [HIT, MISS]})]
    one, two = (make_mixed_run(tmp_path / name, [c]) for name, c in zip("ab", clips, strict=True))
    images = [frame(8, "c.mp4", 0), frame(9, "c.mp4", 1)]
    annotations = write_entries(tmp_path, images, [(8, 1, CAT_BOX), (9, 1, CAT_BOX)])
    told = scored(one, annotations, against=two).metrics["video"]["comparison"]
    assert told["numbers"]["AR100"] == [0.5, 0.5]
    places = [(row["video"], row["frame_index"]) for row in told["frames"]["better"]]
    assert places == [("c.mp4", 1)]
    assert "overall" not in told

    a, clip = Still("/d/a.jpg"), clips[0]
    pair = [make_mixed_run(tmp_path / str(n), [a, clip][:n]) for n in (1, 2)]
    annotations = write_entries(tmp_path, [*images, still(10, "a.jpg")], [])
    with pytest.raises(ConfigError, match="only one of the two runs has videos"):
        scored(pair[0], annotations, against=pair[1])
    with pytest.raises(ConfigError, match="not the same images: 0 and 1, 0 of them in both"):
        scored(one, annotations, against=pair[1])


def test_bpr_of_a_run_counts_the_frames_that_it_looked_at(tmp_path: Path):
    clip = Clip("/d/c.mp4", [[0, 2]], is_sampled=True)
    run = make_mixed_run(tmp_path, [clip, Still("/d/a.jpg")])
    images = [still(5, "a.jpg"), still(6, "b.jpg"), *(frame(10 + i, "c.mp4", i) for i in range(4))]
    annotations = write_entries(tmp_path, images, [(i["id"], 1, CAT_BOX) for i in images])
    document = bpr(BprConfig(run=run, annotations=annotations, num_actors=1)).document
    assert document["images"] == 3
    assert document["rules"]["paper"]["total"] == 3


def test_the_command_shows_both_sets_of_numbers_and_says_them_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    clip = Clip("/d/c.mp4", [[0, 1]], {0: [HIT]})
    run = make_mixed_run(tmp_path, [Still("/d/a.jpg", [HIT]), clip])
    images = [still(5, "a.jpg"), frame(1, "c.mp4", 0), frame(2, "c.mp4", 1)]
    annotations = write_entries(tmp_path, images, [(i["id"], 1, CAT_BOX) for i in images])

    assert main(["evaluate", run, "--annotations", annotations]) == 0

    out, err = capfd.readouterr()
    (line,) = out.splitlines()
    summary = json.loads(line)
    assert (summary["AR100"], summary["video"]["AR100"]) == (1.0, 0.5)
    assert err.count("average precision") == 2
    assert "COCO metrics (boxes), frames of videos" in err
    assert "1 image, 1 object, 1 detection" in err
    assert "2 frames, 1 video, 2 objects, 1 detection" in err


def test_videos_are_listed_with_their_speed_and_steer_no_terminal(
    capfd: pytest.CaptureFixture[str],
):
    told = {"frames": 9, "quarantined": 2, "missing": 0}
    videos = [{"video": f"/d/{i}\x1b[31m.mp4", **told, "frames_per_s": None} for i in range(12)]
    videos[0]["frames_per_s"] = 41.26

    show_videos({"videos": 60, "per_video": videos})
    show_videos({"planned": 3})

    err = capfd.readouterr().err
    assert "41.3" in err
    assert "\x1b[31m" not in err
    assert "and 50 more videos" in err
    assert err.count(".mp4") == 10
