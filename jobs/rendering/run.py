"""Draws all images and videos of a run, counts the outcomes and writes the contact sheet."""

from __future__ import annotations

import itertools
import logging
import time
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fcos_core.errors import ConfigError
from jobs.media.drawing.jpeg import encode_jpeg
from jobs.parallel.cores import num_cores
from jobs.parallel.ray_session import connected
from jobs.progress import ProgressReport
from jobs.rendering.contact_sheet import NUM_TILES, candidates, contact_sheet
from jobs.rendering.distribute import draw_all
from jobs.rendering.frame_rows import Between
from jobs.rendering.images import ImageBlock, Outcome, Style, WorkItem
from jobs.rendering.output_names import CONTACT_SHEET, output_names, overwritten
from jobs.rendering.shard_rows import ShardRows
from jobs.rendering.video_tasks import VideoOutcome, VideoWorkItem
from jobs.rendering.videos import FRAMES_PER_PART
from jobs.rundir.directory import RunDirectory
from jobs.rundir.rows import ManifestItem
from jobs.storage import join as join_uri
from jobs.storage import storage_for

_log = logging.getLogger(__name__)

_IMAGES_PER_BLOCK = 32
_MOST_THREADS = 4
# Ray takes seconds to start: up to this much work, one process is faster.
_FEW_IMAGES = 100
_FEW_FRAMES = 2 * FRAMES_PER_PART
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class RenderRequest:
    """What is to be drawn of a run.

    ``limit`` None stands for all images and videos, ``num_workers`` None for a number that fits
    the amount of work, ``address`` None for a private Ray cluster, if any.
    """

    directory: RunDirectory
    out: str
    style: Style
    between: Between
    limit: int | None
    num_workers: int | None
    address: str | None


@dataclass(kw_only=True)
class RenderResult:
    """What was drawn, and what could not be drawn.

    Attributes:
        run: uri of the run's directory.
        out: uri of the output folder.
        counts: numbers of drawn images, videos and frames, and of sources of each other status.
        left_out: images and videos beyond the limit.
        contact_sheet: uri of the contact sheet; None without samples.
        seconds: duration.
    """

    run: str
    out: str
    counts: Counter[str] = field(default_factory=Counter[str])
    left_out: int = 0
    contact_sheet: str | None = None
    seconds: float = 0.0

    @property
    def failure(self) -> str | None:
        """Why the command fails; None when anything was drawn, or nothing was to be drawn."""
        not_drawn = {name: self.counts[name] for name in _NOT_DRAWN if self.counts[name]}
        if self.counts["images"] or self.counts["videos"] or not not_drawn:
            return None
        reasons = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in not_drawn.items())
        return f"none of {sum(not_drawn.values())} images and videos could be drawn: {reasons}"

    def summary(self) -> dict[str, Any]:
        """Return what the command prints as its last line on stdout."""
        return {
            "run": self.run,
            "out": self.out,
            **{name: self.counts[name] for name in ("images", "videos", "frames", "frames_lost")},
            **{name: self.counts[name] for name in _NOT_DRAWN},
            "left_out": self.left_out,
            "contact_sheet": self.contact_sheet,
            "seconds": round(self.seconds, 3),
        }


_NOT_DRAWN = ("missing", "changed", "quarantined", "not_detected", "failed")


def draw_run(request: RenderRequest) -> RenderResult:
    """Draw the images and videos of a run; a source that cannot be drawn is counted."""
    began = time.monotonic()
    work = _Work(request)
    drawings = RenderResult(run=request.directory.uri, out=request.out, left_out=work.num_left_out)
    tiles: dict[str, Sequence[bytes]] = {}
    with (
        _workers(request, is_small=work.is_small) as num_workers,
        ProgressReport(work.num_wanted, 0, job="render") as progress,
    ):
        images = work.image_blocks(_threads(num_workers))
        outcomes = draw_all(
            images, work.video_items(), num_workers=num_workers, address=request.address
        )
        for outcome in outcomes:
            _count(outcome, drawings)
            if outcome.uri in work.ranks and outcome.tiles:
                tiles[outcome.uri] = outcome.tiles
            progress.add(rows=1, quarantined=outcome.status == "quarantined")
    drawings.contact_sheet = _write_contact_sheet(work, tiles)
    drawings.seconds = time.monotonic() - began
    return drawings


class _Work:
    """The images and videos of a run that are to be drawn, and the names of their drawings."""

    def __init__(self, request: RenderRequest) -> None:
        self.request = request
        self.shards = _shards(request.directory)
        self.videos: dict[str, list[ManifestItem]] = {}
        suffixes: dict[str, str] = {}
        for item in self._items():
            suffixes[item.uri] = ".jpg" if item.kind == "image" else ".mp4"
        self.num_wanted = min(len(suffixes), request.limit or len(suffixes))
        self.num_left_out = len(suffixes) - self.num_wanted
        self.names = output_names(suffixes)
        self._wanted = set(itertools.islice(suffixes, self.num_wanted))
        replaced = overwritten(
            {uri: self.names[uri] for uri in self._wanted}, request.out, suffixes
        )
        if replaced is not None:
            raise ConfigError(
                f"--out {request.out!r} would replace {replaced!r}: give another --out"
            )
        self.ranks = candidates(self._wanted)
        num_frames = 0
        for item in self._items():
            if item.kind == "video_segment" and item.uri in self._wanted:
                self.videos.setdefault(item.uri, []).append(item)
                num_frames += item.num_frames or 0
        num_images = self.num_wanted - len(self.videos)
        self.is_small = num_images <= _FEW_IMAGES and num_frames <= _FEW_FRAMES

    def image_blocks(self, threads: int) -> Iterator[ImageBlock]:
        for shard, items in self.request.directory.manifest().iterate(is_current=True):
            wanted = [i for i in items if i.kind == "image" and i.uri in self._wanted]
            rows = self.shards.get(shard)
            for start in range(0, len(wanted), _IMAGES_PER_BLOCK):
                batch = wanted[start : start + _IMAGES_PER_BLOCK]
                yield ImageBlock(
                    rows=rows,
                    items=[
                        WorkItem(
                            item=item, out=self.uri_of(item.uri), wants_tile=item.uri in self.ranks
                        )
                        for item in batch
                    ],
                    style=self.request.style,
                    threads=threads,
                )

    def video_items(self) -> Iterator[VideoWorkItem]:
        for uri, items in self.videos.items():
            numbers = {item.shard for item in items} & self.shards.keys()
            yield VideoWorkItem(
                items=tuple(sorted(items, key=lambda item: item.first_frame or 0)),
                shards={number: self.shards[number] for number in numbers},
                out=self.uri_of(uri),
                style=self.request.style,
                between=self.request.between,
                wants_tile=uri in self.ranks,
            )

    def uri_of(self, source: str) -> str:
        """Return the uri of the drawing of a source."""
        return join_uri(self.request.out, self.names[source])

    def _items(self) -> Iterator[ManifestItem]:
        for _, items in self.request.directory.manifest().iterate(is_current=True):
            yield from items


def _shards(directory: RunDirectory) -> dict[int, ShardRows]:
    manifest, listing = directory.manifest(), directory.list_shards()
    planned = dict(
        zip(manifest.shards.numbers.tolist(), manifest.shards.num_rows.tolist(), strict=True)
    )
    return {
        number: ShardRows(
            run=directory.uri,
            run_id=manifest.run_id,
            shard=number,
            attempts=tuple(attempt for attempt, _ in listing.retries.get(number, ())),
            num_planned=planned.get(number, 0),
        )
        for number in listing.shards.tolist()
    }


@contextmanager
def _workers(request: RenderRequest, *, is_small: bool) -> Generator[int]:
    """Connect to Ray, unless one process is faster.

    Yields:
        The number of processes; 1 is this process, without Ray.
    """
    if request.num_workers == 1 or (
        request.num_workers is None and is_small and not request.address
    ):
        yield 1
        return
    with connected(request.address, num_cpus=request.num_workers or num_cores()) as ray:
        yield request.num_workers or max(2, int(ray.cluster_resources().get("CPU", 2)))


def _threads(num_workers: int) -> int:
    return min(_MOST_THREADS, num_cores()) if num_workers == 1 else 1


def _count(outcome: Outcome, drawings: RenderResult) -> None:
    counts = drawings.counts
    if outcome.status != "drawn":
        counts[outcome.status] += 1
        num_not_drawn = sum(counts[name] for name in _NOT_DRAWN)
        if num_not_drawn <= _SHOWN:
            _log.warning("%s: %s", outcome.status.replace("_", " "), outcome.reason)
        if num_not_drawn == _SHOWN:
            _log.warning("further sources that cannot be drawn are only counted")
    elif isinstance(outcome, VideoOutcome):
        counts["videos"] += 1
        counts["frames"] += outcome.num_frames
        counts["frames_lost"] += outcome.num_lost
        if outcome.num_lost:
            _log.warning("%s: %d frames lost: %s", outcome.uri, outcome.num_lost, outcome.reason)
        if outcome.sound_ends_because:
            _log.warning("%s: its sound ends early: %s", outcome.uri, outcome.sound_ends_because)
    else:
        counts["images"] += 1


def _write_contact_sheet(work: _Work, tiles: Mapping[str, Sequence[bytes]]) -> str | None:
    if not tiles:
        return None
    ordered = sorted(tiles, key=work.ranks.__getitem__)
    first = [(work.names[uri], tiles[uri][0]) for uri in ordered]
    more = [(work.names[uri], tile) for uri in ordered for tile in tiles[uri][1:]]
    sheet = contact_sheet([*first, *more][:NUM_TILES])
    uri = join_uri(work.request.out, CONTACT_SHEET)
    storage_for(uri).write(uri, encode_jpeg(sheet))
    return uri
