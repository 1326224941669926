"""Compares two runs over the same images: what changed, how surely, and where."""

from __future__ import annotations

from typing import Any

from fcos_core.errors import ConfigError
from fcos_core.metrics.bootstrap import comparison
from jobs.annotations.video_frames import FrameEntries
from jobs.scoring.scores import Resamples, Scores


def require_same_images(first: Scores, second: Scores) -> None:
    """Refuse to compare scores of different images.

    Raises:
        ConfigError: the images differ.
    """
    ids, others = first.subject.image_ids.tolist(), second.subject.image_ids.tolist()
    if ids != others:
        noun = "images" if first.subject.noun == "images" else "frames of videos"
        raise ConfigError(
            f"--against: the runs have not the same {noun}: {len(ids)} and {len(others)}, "
            f"{len(set(ids) & set(others))} of them in both"
        )


def compare(
    first: Scores, second: Scores, resamples: tuple[Resamples, Resamples]
) -> dict[str, Any]:
    """Compare a run to another; differences are the second's numbers minus the first's.

    Both were resampled with the same images.

    Returns:
        Differences of the twelve numbers and of each category's AP with paired intervals, and the
        images that changed most, for JSON.
    """
    one, other = resamples
    differences = comparison.compare(
        (one.observed, other.observed), (one.resampled, other.resampled)
    )
    return {
        "against": second.subject.about,
        "numbers": _numbers(first, second),
        **comparison.describe(differences, len(one.resampled), first.category_ids),
        "score_thresholds": [_threshold(first), _threshold(second)],
        "images": _changed(first, second),
    }


def compare_frames(first: Scores, second: Scores, entries: FrameEntries) -> dict[str, Any]:
    """Compare the frames of two runs' videos, without intervals: frames are no independent samples.

    Returns:
        The twelve numbers of both, and the frames that changed most, for JSON.
    """
    changed = _changed(first, second)
    for row in (*changed["better"], *changed["worse"]):
        row.update(entries.name_of(row["image_id"]))
    return {
        "numbers": _numbers(first, second),
        "score_thresholds": [_threshold(first), _threshold(second)],
        "frames": changed,
    }


def _numbers(first: Scores, second: Scores) -> dict[str, list[float]]:
    return {
        name: [scores.metrics.overall[name] for scores in (first, second)]
        for name in first.metrics.overall
    }


def _changed(first: Scores, second: Scores) -> dict[str, list[dict[str, Any]]]:
    changed = [
        comparison.count_errors(
            scores.by_category(),
            scores.to_find,
            scores.num_images,
            scores.settings,
            score_threshold=_threshold(scores),
        )
        for scores in (first, second)
    ]
    return comparison.describe_changed(changed[0], changed[1], first.subject.image_ids)


def _threshold(scores: Scores) -> float:
    """Return the score of a run's largest F1: errors are counted where the run is best."""
    best = scores.explanation.summary["thresholds"]
    return best.score if best else 0.0
