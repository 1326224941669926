"""What jobs say of a run when they end, in the names that scripts rely on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from jobs.rundir.proof import Proof
from jobs.rundir.video_pace import VideoPace

_MOST_VIDEOS = 50  # that are named in a line


def counts(proof: Proof) -> dict[str, Any]:
    """Rows, items and the digest, as they stand in the line of JSON."""
    return {
        "planned": proof.planned,
        "ok": proof.ok,
        "quarantined": proof.quarantined,
        "missing": proof.missing,
        "duplicated": proof.duplicated,
        "items_planned": proof.items_planned,
        "items_ok": proof.items_ok,
        "items_quarantined": proof.items_quarantined,
        "items_missing": proof.items_missing,
        "digest": proof.digest,
        "digest_class": proof.digest_class,
    }


def incompleteness(proof: Proof) -> str | None:
    """Say in one line why a run is not complete; None when it is."""
    if proof.complete:
        return None
    numbers = f"{proof.missing} of {proof.planned} rows are missing, {proof.duplicated} double"
    if not proof.problems:
        return numbers
    more = f" (and {len(proof.problems) - 1} more problems)" if len(proof.problems) > 1 else ""
    return f"{numbers}: {proof.problems[0]}{more}"


@dataclass(frozen=True, kw_only=True)
class Retried:
    """What became of quarantined items that were tried again.

    Attributes:
        attempt: the number of their folder below ``retries``; None when nothing was quarantined.
        num_items: that were tried again.
        num_recovered: of them, those that now have all rows ok.
    """

    attempt: int | None
    num_items: int
    num_recovered: int

    def summary(self) -> dict[str, Any]:
        """Say it in the names that scripts rely on."""
        return {
            "attempt": self.attempt,
            "items_retried": self.num_items,
            "items_recovered": self.num_recovered,
        }


@dataclass(frozen=True, kw_only=True)
class DetectResult:
    """What a run came to.

    Attributes:
        run: uri of the run's directory.
        proof: of the whole run, whoever computed it.
        skipped: files that were passed over when the inputs were listed.
        seconds: this invocation took.
        num_rows: it computed.
        failure: why this is not success, in one line; None when it is.
        retried: what became of the quarantined items it tried again; None unless it was to.
        pace: how fast this invocation was with each video.
    """

    run: str
    proof: Proof
    skipped: int
    seconds: float
    num_rows: int
    failure: str | None
    retried: Retried | None = None
    pace: VideoPace = field(default_factory=VideoPace)

    def summary(self) -> dict[str, Any]:
        """Say it in the names that scripts rely on."""
        return {
            "run": self.run,
            **counts(self.proof),
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "images_per_s": round(self.num_rows / self.seconds, 3),
            **({} if self.retried is None else self.retried.summary()),
            **self._videos(),
        }

    def _videos(self) -> dict[str, Any]:
        """What became of each video, of the first ones; nothing where there are none."""
        videos = self.proof.videos
        if not videos:
            return {}
        return {
            "videos": len(videos),
            "per_video": [
                {
                    "video": uri,
                    "frames": counts.planned,
                    "quarantined": counts.quarantined,
                    "missing": counts.missing,
                    "frames_per_s": _rounded(self.pace.frames_per_s(uri) if counts.ok else None),
                }
                for uri, counts in islice(videos.items(), _MOST_VIDEOS)
            ],
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would be done; the result of a dry run.

    Attributes:
        run: uri of the run's directory.
        num_items: images.
        num_shards: files that hold their rows.
        num_shards_done: of them, those that are there already.
        num_items_to_retry: quarantined items that would be tried again.
        skipped: files that were passed over.
        sizes: how many images there are of each known size.
        num_actors: workers.
        device: kind and model of what they compute on.
        fields: all that decides the rows.
    """

    run: str
    num_items: int
    num_shards: int
    num_shards_done: int
    skipped: int
    sizes: dict[str, int]
    num_actors: int
    device: str
    fields: Mapping[str, Any]
    num_items_to_retry: int = 0
    failure: None = None

    def summary(self) -> dict[str, Any]:
        """Say it as one object for JSON."""
        return {
            "dry_run": True,
            "run": self.run,
            "items_planned": self.num_items,
            "shards": self.num_shards,
            "shards_done": self.num_shards_done,
            "items_to_retry": self.num_items_to_retry,
            "skipped": self.skipped,
            "sizes": self.sizes,
            "num_actors": self.num_actors,
            "device": self.device,
            **self.fields,
        }
