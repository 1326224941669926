"""Manifests that are made in streams: the items that a plain list gives, whatever the limits."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos_core.config import preset_config
from fcos_core.input_shapes import padded_shape
from jobs.inputs.item import InputItem
from jobs.inputs.item_spool import ItemSpool, items_to_batch
from jobs.inputs.video_index import PlannedVideo
from jobs.media.video import Segment
from jobs.planning.batch_size import filled_share
from jobs.planning.manifest import Numbering, PlannedItems
from jobs.planning.ordered_items import OrderedItems, Videos
from jobs.rundir.schemas import MANIFEST

Row = dict[str, Any]
MODEL = preset_config("torchvision", 91)


def segment(num_frames: int) -> Segment:
    return Segment(
        stream=0,
        time_base=Fraction(1, 25),
        first_frame=0,
        num_frames=num_frames,
        start_pts=0,
        end_pts=num_frames - 1,
        decode_from_pts=None,
        sampling="all",
    )


@st.composite
def planned_videos(draw: st.DrawFn) -> PlannedVideo:
    lengths = draw(st.lists(st.integers(1, 9), max_size=3))
    if not lengths:
        return PlannedVideo(width=None, height=None, segments=(), problem="no frames")
    width, height = draw(st.sampled_from([(64, 48), (48, 64)]))
    return PlannedVideo(width=width, height=height, segments=tuple(map(segment, lengths)))


@st.composite
def listings(draw: st.DrawFn) -> tuple[list[InputItem], dict[str, PlannedVideo]]:
    kinds = draw(st.lists(st.sampled_from("iiiv"), max_size=14))
    sides = [st.sampled_from([48, 64, 200])] * 2
    size = st.tuples(*sides) if draw(st.booleans()) else st.tuples(*sides) | st.none()
    items: list[InputItem] = []
    videos: dict[str, PlannedVideo] = {}
    for place, kind in enumerate(kinds):
        if kind == "v":
            items.append(InputItem(uri=f"/{place}.mp4", is_video=True, mtime_ns=place))
            videos[f"/{place}.mp4"] = draw(planned_videos())
            continue
        width, height = draw(size) or (None, None)
        items.append(
            InputItem(uri=f"/{place}.jpg", width=width, height=height, image_id=100 - place)
        )
    return items, videos


def plain_manifest(items: list[InputItem], videos: Videos, shard_size: int) -> list[Row]:
    """The manifest as a loop over objects makes it."""
    rows: list[Row] = []
    for item in items:
        row = dict.fromkeys(MANIFEST.names) | {
            "kind": "video_segment" if item.is_video else "image",
            **{name: getattr(item, name) for name in ("uri", "width", "height", "mtime_ns")},
        }
        if not item.is_video:
            rows.append(row)
            continue
        video = videos[item.uri]
        row |= {"width": video.width, "height": video.height}
        rows += [
            row
            | {"time_base_num": 1, "time_base_den": 25, "stream": 0, "sampling": "all"}
            | {"first_frame": 0, "num_frames": one.num_frames}
            | {"start_pts": 0, "end_pts": one.end_pts}
            for one in video.segments
        ]
        if not video.segments:
            unusable = {"first_frame": 0, "num_frames": 1, "sampling": "all"}
            rows.append(row | unusable | {"problem": video.problem})
    if all(item.is_video or item.width for item in items):
        rows.sort(key=lambda row: (row["height"] or 0, row["width"] or 0))
    shard = rows_in_shard = 0
    image_id = 1
    for item_id, row in enumerate(rows):
        num_rows = row["num_frames"] or 1
        if rows_in_shard and rows_in_shard + num_rows > shard_size:
            shard, rows_in_shard = shard + 1, 0
        rows_in_shard += num_rows
        row |= {"item_id": item_id, "shard": shard, "image_id": image_id}
        image_id += num_rows
    return rows


def planned_by(
    items: list[InputItem],
    videos: Videos,
    shard_size: int,
    *,
    memory_rows: int = 100,
    **more: Any,
) -> PlannedItems:
    asked: list[str] = []

    def plan(uris: Sequence[str]) -> Videos:
        assert 0 < len(uris) <= 2
        asked.extend(uris)
        return {uri: videos[uri] for uri in uris}

    listed = ItemSpool(memory_rows=memory_rows)
    for i in range(0, len(items), memory_rows):
        listed.append(items_to_batch(items[i : i + memory_rows]))
    ordered = OrderedItems(listed, plan, videos_at_once=2, memory_rows=memory_rows)
    assert asked == [item.uri for item in items if item.is_video]
    return PlannedItems(ordered, shard_size, **more)


def rows_of(planned: PlannedItems) -> list[Row]:
    return [row for table in planned.tables() for row in table.to_pylist()]


@pytest.mark.long
@given(
    listed=listings(),
    shard_size=st.integers(1, 12),
    memory_rows=st.integers(1, 9) | st.just(200),
    items_per_part=st.integers(1, 7),
)
def test_a_manifest_is_that_of_a_plain_loop(
    listed: tuple[list[InputItem], dict[str, PlannedVideo]],
    shard_size: int,
    memory_rows: int,
    items_per_part: int,
) -> None:
    expected = plain_manifest(*listed, shard_size)
    planned = planned_by(
        *listed, shard_size, memory_rows=memory_rows, items_per_part=items_per_part
    )
    assert rows_of(planned) == expected
    assert rows_of(planned) == expected, "the tables can be made again"
    assert planned.num_items == len(expected)
    assert planned.num_rows == sum(row["num_frames"] or 1 for row in expected)
    sizes = [f"{row['width']}x{row['height']}" if row["width"] else "unknown" for row in expected]
    assert list(planned.sizes.items()) == list(Counter(sizes).items())
    require_parts(planned, expected, items_per_part)
    for batch_size in (1, 3, 8):
        share = filled_share(planned.size_groups, MODEL, batch_size)
        assert share == pytest.approx(plain_share(expected, batch_size))


def require_parts(planned: PlannedItems, expected: list[Row], items_per_part: int) -> None:
    tables = list(planned.tables())
    assert all(table.schema.equals(MANIFEST, check_metadata=True) for table in tables)
    first = 0
    for part, table in enumerate(tables):
        shards = planned.shards.select(planned.shards.parts == part)
        assert shards.numbers.tolist() == sorted(set(table.column("shard").to_pylist()))
        assert shards.first_items[0] == first
        assert shards.total_items == len(table)
        assert shards.num_rows.sum() == sum(row["num_frames"] or 1 for row in table.to_pylist())
        first += len(table)
        if part + 1 < len(tables):
            assert len(table) - shards.num_items[-1] < items_per_part <= len(table)
    assert first == len(expected)
    for place, number in enumerate(planned.shards.numbers.tolist()):
        ids = [row["item_id"] for row in expected if row["shard"] == number]
        assert planned.shards.first_items[place] == ids[0]
        assert planned.shards.num_items[place] == len(ids)


def plain_share(rows: list[Row], batch_size: int) -> float:
    counts = Counter[Any]()
    for row in rows:
        if row["width"] is None:
            return 0.0
        shape = padded_shape(row["height"], row["width"], MODEL.input)
        counts[row["shard"], shape] += row["num_frames"] or 1
    num_places = sum(-(-count // batch_size) * batch_size for count in counts.values())
    return sum(counts.values()) / num_places if num_places else 1.0


@given(listed=listings(), shard_size=st.integers(1, 12))
def test_an_extension_counts_on(
    listed: tuple[list[InputItem], dict[str, PlannedVideo]], shard_size: int
) -> None:
    start = Numbering(first_item_id=1000, first_shard=50, first_part=3, next_image_id=7000)
    new = planned_by(*listed, shard_size, items_per_part=4)
    added = planned_by(*listed, shard_size, items_per_part=4, numbering=start)
    moved = [
        row
        | {"item_id": row["item_id"] + 1000, "shard": row["shard"] + 50}
        | {"image_id": row["image_id"] + 6999}
        for row in rows_of(new)
    ]
    assert rows_of(added) == moved
    assert (added.shards.parts - 3).tolist() == new.shards.parts.tolist()
    assert (added.shards.numbers - 50).tolist() == new.shards.numbers.tolist()
    assert (added.shards.first_items - 1000).tolist() == new.shards.first_items.tolist()
    assert added.next_numbering == Numbering(
        first_item_id=1000 + new.num_items,
        first_shard=50 + len(new.shards),
        first_part=3 + len(list(new.tables())),
        next_image_id=7000 + new.num_rows,
    )


def test_ids_of_a_coco_file_are_kept() -> None:
    items = [InputItem(uri=f"/{i}.jpg", width=9, height=9 - i, image_id=70 + i) for i in range(3)]
    planned = planned_by(items, {}, 2, has_image_ids=True)
    assert [row["image_id"] for row in rows_of(planned)] == [72, 71, 70]


def test_the_reason_of_an_unusable_video_is_text_that_a_table_holds() -> None:
    unusable = PlannedVideo(width=None, height=None, segments=(), problem="no \udcff")
    videos: Videos = {"/a.mp4": unusable}
    planned = planned_by([InputItem(uri="/a.mp4", is_video=True)], videos, 8)
    (row,) = rows_of(planned)
    assert (row["problem"], row["num_frames"]) == ("no \\udcff", 1)


def test_a_video_that_is_only_cut_short_is_no_problem() -> None:
    video = PlannedVideo(width=8, height=8, segments=(segment(3),), note="ends after 3 frames")
    planned = planned_by([InputItem(uri="/a.mp4", is_video=True)], {"/a.mp4": video}, 8)
    assert [row["problem"] for row in rows_of(planned)] == [None]


def test_many_segments_of_one_video_are_planned_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.planning.ordered_items.BATCH_ROWS", 3)
    video = PlannedVideo(width=8, height=8, segments=(segment(1),) * 10)
    items = [
        InputItem(uri="/a.mp4", is_video=True),
        InputItem(uri="/b.jpg"),
        InputItem(uri="/c.mp4", is_video=True),
    ]
    planned = planned_by(items, {"/a.mp4": video, "/c.mp4": video}, 8)
    assert [row["uri"][1] for row in rows_of(planned)] == [*"aaaaaaaaaabcccccccccc"]
    assert isinstance(next(planned.tables()), pa.Table)
