"""What a command has done of a run: its last line on stdout, and why it failed if it did."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from jobs.inputs.video_pace import VideoPace
from jobs.rundir.manifest.index import Growth
from jobs.rundir.proof import Proof
from jobs.rundir.retries import RetryResult
from jobs.settings.max_bad import MaxBad

_MAX_VIDEOS = 50  # that the result's line names


@dataclass(frozen=True, kw_only=True)
class DetectResult:
    """A run, as this command leaves it.

    Attributes:
        run: uri of the run's directory.
        proof: of the whole run, whichever command computed its rows.
        skipped: number of files that the listing of the inputs passed over.
        seconds: duration of this command.
        num_rows: rows that this command computed.
        failure: why the command failed, in one line; None when it succeeded.
        growth: what ``--extend`` found; None where it was not asked for.
        retried: the result of ``--retry-quarantined``; None where nothing was retried.
        pace: how fast this command was with each video.
    """

    run: str
    proof: Proof
    skipped: int
    seconds: float
    num_rows: int
    failure: str | None
    retried: RetryResult | None
    growth: Growth | None
    pace: VideoPace

    def summary(self) -> dict[str, Any]:
        """The command's last line on stdout."""
        return {
            "run": self.run,
            **self.proof.summary(),
            "skipped": self.skipped,
            "seconds": round(self.seconds, 3),
            "images_per_s": round(self.num_rows / self.seconds, 3),
            **({} if self.growth is None else self.growth.summary()),
            **({} if self.retried is None else self.retried.summary()),
            **self._videos(),
        }

    def _videos(self) -> dict[str, Any]:
        """The counts of each video; of many videos, of the first ones."""
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
                for uri, counts in islice(videos.items(), _MAX_VIDEOS)
            ],
        }


def damage(proof: Proof) -> str | None:
    """Say what is wrong with a run whose shards all have a file, and how to repair it."""
    problem = proof.incompleteness
    return problem and (
        f"{problem}; delete each file that `fcos verify` names, then the same command computes "
        "what is missing"
    )


def too_many_quarantined(proof: Proof, max_bad: str | None) -> str | None:
    """Say why a complete run is a failure all the same."""
    if proof.planned and not proof.ok:
        found = f"no image could be used: all {proof.quarantined} rows are quarantined"
        return f"{found}, the first: {proof.first_quarantined}"
    if max_bad is not None:
        limit = MaxBad.parse(max_bad).num_rows(proof.planned)
        if proof.quarantined > limit:
            return (
                f"{proof.quarantined} of {proof.planned} rows are quarantined, "
                f"--max-bad {max_bad} allows {limit}; the first: {proof.first_quarantined}"
            )
    return None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
