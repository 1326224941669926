"""Two runs over the same images: what changed, how surely, and where."""

from __future__ import annotations

from typing import Any

from fcos_core.errors import ConfigError
from fcos_core.metrics import comparison
from jobs.scoring.scores import Resamples, Scores


def compare(
    first: Scores, second: Scores, resamples: tuple[Resamples, Resamples]
) -> dict[str, Any]:
    """Compare a run to another; differences are the second's numbers minus the first's.

    Args:
        first: of the run.
        second: of the one it is compared to.
        resamples: of both, the same images in each pair.

    Returns:
        Differences of the twelve numbers and of each category's AP with paired intervals, and the
        images that changed most, for JSON.

    Raises:
        ConfigError: the two have not the same images.
    """
    ids, others = first.subject.image_ids, second.subject.image_ids
    if ids.tolist() != others.tolist():
        raise ConfigError(
            f"--against: the runs have not the same pictures: {len(ids)} and {len(others)}, "
            f"{len(set(ids.tolist()) & set(others.tolist()))} of them in both"
        )
    one, other = resamples
    differences = comparison.compare(
        (one.observed, other.observed), (one.resampled, other.resampled)
    )
    changed = [
        comparison.count_errors(
            scores.by_category(),
            scores.wanted,
            scores.num_images,
            scores.settings,
            score_threshold=_threshold(scores),
        )
        for scores in (first, second)
    ]
    return {
        "against": second.subject.about,
        "numbers": {
            name: [scores.metrics.overall[name] for scores in (first, second)]
            for name in first.metrics.overall
        },
        **comparison.describe(differences, len(one.resampled), first.category_ids),
        "score_thresholds": [_threshold(first), _threshold(second)],
        "images": comparison.describe_changed(changed[0], changed[1], ids),
    }


def _threshold(scores: Scores) -> float:
    """Each run is looked at where it is best: its errors at the score of its largest F1."""
    best = scores.explanation.summary["thresholds"]
    return best["score"] if best else 0.0
