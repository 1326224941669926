"""Real photos and awkward files through the real command, against torchvision and itself."""

from pathlib import Path

import pytest
import torch

from fcos_core.errors import ImageError
from jobs.media.image.decode import decode_image
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import table_to_rows
from jobs.rundir.shard_reading import iterate_rows
from tests.commands import INCOMPLETE, fcos
from tests.fcos_core.models import torchvision_model, torchvision_state_dict


def rows_by_name(run: Path):
    rows = [row for table in iterate_rows(RunDirectory(str(run))) for row in table_to_rows(table)]
    return {Path(row.uri).name: row for row in rows}


def assert_same_detections(found, expected, *, box_px, score):
    """Match one to one; detections whose scores all but tie may change places."""
    assert found.keys() == expected.keys()
    num_compared = 0
    for name, ours in found.items():
        theirs = expected[name]
        assert len(ours.scores) == len(theirs.scores), name
        free = set(range(len(theirs.scores)))
        for i in range(len(ours.scores)):
            match = [
                j
                for j in free
                if ours.category_ids[i] == theirs.category_ids[j]
                and abs(ours.scores[i] - theirs.scores[j]) <= score
                and abs(ours.boxes[i] - theirs.boxes[j]).max() <= box_px
            ]
            assert match, f"{name}, detection {i}"
            free.remove(match[0])
            num_compared += 1
    assert num_compared > len(found)


@pytest.mark.ray
def test_every_awkward_file_has_one_row_with_its_upright_size_or_a_true_reason(
    shared_data, tmp_path
):
    folder, run = shared_data / "hard", tmp_path / "RUN"
    arguments = ["detect", folder, "--weights", "demo", "--out", run, "--num-actors", 1]
    summary = fcos(*arguments).result()
    files = {path.name: path for path in folder.iterdir()}
    rows = rows_by_name(run)
    assert summary["planned"] == summary["ok"] + summary["quarantined"] == len(files)
    assert rows.keys() == files.keys()
    for name, row in rows.items():
        data = files[name].read_bytes()
        if row.status == "ok":
            assert (row.height, row.width) == decode_image(data, place=row.uri).shape[:2]
        else:
            with pytest.raises(ImageError) as caught:
                decode_image(data, place=row.uri)
            assert row.error == str(caught.value)
    # Their EXIF orientation turns them: as stored, all are wider than high.
    for name in ("Portrait_5.jpg", "Portrait_8.jpg"):
        assert (rows[name].width, rows[name].height) == (1200, 1800)
    again = fcos(*arguments, "--max-bad", "0").result(INCOMPLETE)
    assert again["quarantined"] == summary["quarantined"]


@pytest.fixture(scope="module")
def photos(shared_data) -> Path:
    return shared_data / "coco_tiny" / "val2017"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "torchvision.pth"
    torch.save(torchvision_state_dict(), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [0.2, 0.05])
def test_photos_through_the_command_equal_torchvision(photos, weights, tmp_path, threshold):
    run, limit = tmp_path / "RUN", 20
    options = ["--weights", weights, "--score-threshold", threshold, "--limit", limit]
    fcos("detect", photos, "--out", run, *options).result()
    rows = rows_by_name(run)
    assert len(rows) == limit
    model = torchvision_model(torch.load(weights, weights_only=True))
    model.score_thresh = threshold
    num_found = 0
    for row in rows.values():
        image = decode_image(Path(row.uri).read_bytes(), place=row.uri)
        with torch.inference_mode():
            (expected,) = model([torch.from_numpy(image.copy()).permute(2, 0, 1).float().div(255)])
        assert len(row.scores) == len(expected["scores"])
        num_found += len(row.scores)
        # Another process may have other threads: 0.01 px and 1e-4.
        torch.testing.assert_close(
            torch.from_numpy(row.scores.copy()), expected["scores"], rtol=0, atol=1e-4
        )
        boxes = torch.from_numpy(row.boxes.copy())
        for i, label in enumerate(row.category_ids):
            is_same = (expected["labels"] == int(label)) & (
                (expected["scores"] - float(row.scores[i])).abs() < 1e-4
            )
            assert (expected["boxes"][is_same] - boxes[i]).abs().amax(dim=1).min() < 0.01
    assert num_found > limit


@pytest.mark.slow
def test_full_size_photos_do_not_depend_on_actors_nor_on_batch_size(photos, weights, tmp_path):
    options = ["detect", photos, "--weights", weights, "--limit", 24, "--threads-per-actor", 1]
    first = {}
    for batch_size in (1, 3, 8):
        digests, run = set(), tmp_path
        for num_actors in (1, 2) if batch_size == 1 else (2,):
            run = tmp_path / f"RUN-{batch_size}-{num_actors}"
            shards = ["--shard-size", 6, "--batch-size", batch_size, "--num-actors", num_actors]
            fcos(*options, *shards, "--out", run).result()
            digests.add(fcos("verify", run).result()["digest"])
        assert len(digests) == 1
        rows = rows_by_name(run)
        assert_same_detections(rows, first or rows, box_px=1e-3, score=1e-5)
        first = first or rows


@pytest.mark.slow
def test_photos_at_demo_size_do_not_depend_on_actors_nor_on_batch_size(photos, tmp_path):
    options = ["detect", photos, "--weights", "demo", "--limit", 24, "--threads-per-actor", 1]
    first, digests = {}, {}
    for batch_size, num_actors in ((1, 1), (1, 2), (4, 2)):
        run = tmp_path / f"RUN-{batch_size}-{num_actors}"
        shards = ["--shard-size", 6, "--batch-size", batch_size, "--num-actors", num_actors]
        fcos(*options, *shards, "--out", run).result()
        digests.setdefault(batch_size, set()).add(fcos("verify", run).result()["digest"])
        rows = rows_by_name(run)
        first = first or rows
        assert_same_detections(rows, first, box_px=1e-3, score=1e-5)
    assert len(digests[1]) == 1
