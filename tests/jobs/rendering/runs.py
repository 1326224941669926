"""Runs over real images and videos, with detections that the test gives."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from jobs.media.video import Sampling, VideoSource, index_video
from jobs.media.video.segments import split
from jobs.rundir.directory import RunDirectory
from jobs.rundir.record import Category, RunRecord
from jobs.rundir.rows import ManifestItem, Row, items_to_table
from jobs.rundir.shard_writing import commit_shard, encode_shard

RUN_ID = "run-of-a-test"
CATEGORIES = {1: "cat", 3: "dog", 44: "traffic light"}
Detection = tuple[int, float, tuple[float, float, float, float]]  # category id, score, xyxy


@dataclass
class RunOfATest:
    """Collects items and rows, and writes them as ``detect`` would."""

    items: list[ManifestItem] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def image(
        self, path: Path | str, size: tuple[int, int], detections: Sequence[Detection] = ()
    ) -> None:
        """Add an image of some width and height."""
        number = len(self.items)
        exists = Path(path).is_file()
        self.items.append(
            ManifestItem(
                item_id=number,
                shard=0,
                kind="image",
                uri=str(path),
                image_id=len(self.rows) + 1,
                size_bytes=Path(path).stat().st_size if exists else None,
            )
        )
        self.rows.append(self._row(number, str(path), size, detections))

    def quarantined(self, path: Path | str) -> None:
        """Add an image that could not be used."""
        self.image(path, (1, 1))
        self.rows[-1] = Row.quarantined(
            item_id=len(self.items) - 1,
            image_id=len(self.rows),
            uri=str(path),
            error_class="ImageError",
            error=f"{path}: truncated",
        )

    def video(
        self,
        path: Path,
        detections: Sequence[Detection] = (),
        *,
        sampling: Sampling | None = None,
        num_segments: int = 2,
    ) -> None:
        """Add a video, with the same detections on every frame that is taken."""
        index = index_video(VideoSource(str(path)))
        for segment in split(index, num_segments, sampling=sampling):
            number = len(self.items)
            self.items.append(
                ManifestItem(
                    item_id=number,
                    shard=0,
                    kind="video_segment",
                    uri=str(path),
                    image_id=len(self.rows) + 1,
                    width=index.width,
                    height=index.height,
                    size_bytes=path.stat().st_size,
                    stream=segment.stream,
                    time_base_num=segment.time_base.numerator,
                    time_base_den=segment.time_base.denominator,
                    first_frame=segment.first_frame,
                    num_frames=segment.num_frames,
                    start_pts=segment.start_pts,
                    end_pts=segment.end_pts,
                    decode_from_pts=segment.decode_from_pts,
                    sampling=segment.sampling,
                )
            )
            for place in self.items[-1].frames():
                row = self._row(number, str(path), (index.width, index.height), detections)
                self.rows.append(replace(row, frame_index=place, timestamp_s=0.0))

    def write(
        self, folder: Path, *, shard_size: int = 3, without: Sequence[int] = ()
    ) -> RunDirectory:
        """Write the run, ``without`` some shards."""
        run = RunDirectory(str(folder))
        items = [replace(item, shard=item.item_id // shard_size) for item in self.items]
        run.create_manifest(items_to_table(items), {"run_id": RUN_ID, "fingerprint": "f"})
        run.create_run_record(
            RunRecord(
                run_id=RUN_ID,
                fingerprint="f",
                fingerprint_fields={},
                config={},
                versions={},
                weights_sha256="5" * 64,
                preset="improved",
                categories=tuple(Category(id=id_, name=name) for id_, name in CATEGORIES.items()),
                device="cpu of a test",
                created_at=datetime(2025, 1, 1, tzinfo=UTC),
            )
        )
        for shard in sorted({item.shard for item in items}):
            ids = {item.item_id for item in items if item.shard == shard}
            rows = [row for row in self.rows if row.item_id in ids]
            if shard not in without:
                assert commit_shard(run, shard, encode_shard(rows, run_id=RUN_ID, shard=shard))
        return run

    def _row(
        self, item: int, uri: str, size: tuple[int, int], detections: Sequence[Detection]
    ) -> Row:
        return Row.ok(
            item_id=item,
            image_id=len(self.rows) + 1,
            uri=uri,
            width=size[0],
            height=size[1],
            category_ids=[category_id for category_id, _, _ in detections],
            scores=[score for _, score, _ in detections],
            boxes=[box for _, _, box in detections],
        )
