"""Intervals of resampled numbers: how much COCO's numbers would vary with other images.

An interval is the percentile interval of Efron and Tibshirani, An Introduction to the Bootstrap
(1993), chapter 13, moved by the bias of chapter 10, so that the resampled numbers lie around the
observed one. Precision is the best at a recall or beyond; a resample has fewer different images and
a more ragged curve, so resampled AP is too high (``docs/evaluation.md`` says how much). The
interval shows how a number varies with the sample of images, not with another training.

Letters: ``N`` resamples, ``V`` values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from fcos_core.metrics.coco import METRIC_NAMES
from fcos_core.metrics.coco.accumulation import UNDEFINED

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Intervals:
    """Intervals around observed values; NaN where no resample defines a value.

    Args:
        low: lower ends.
        high: upper ends.
        bias: mean of the resampled values minus the observed one.
        num_defined: resamples that define the value; the others are left out.
    """

    low: Float64[np.ndarray, " V"]
    high: Float64[np.ndarray, " V"]
    bias: Float64[np.ndarray, " V"]
    num_defined: Int64[np.ndarray, " V"]


def undefined_as_nan(values: Float64[np.ndarray, "*N V"]) -> Float64[np.ndarray, "*N V"]:
    """Replace COCO's -1 by NaN."""
    return np.where(values == UNDEFINED, np.nan, values)


def bias_of(
    observed: Float64[np.ndarray, " V"], resampled: Float64[np.ndarray, "N V"]
) -> Float64[np.ndarray, " V"]:
    """Mean of the resampled values minus the observed one; NaN where undefined."""
    some = ~np.isnan(resampled).all(axis=0)
    mean = np.full(len(observed), np.nan)
    mean[some] = np.nanmean(resampled[:, some], axis=0)
    return mean - observed


def percentile_intervals(
    observed: Float64[np.ndarray, " V"],
    resampled: Float64[np.ndarray, "N V"],
    confidence: float = CONFIDENCE,
) -> Intervals:
    """Middle part of resampled values, moved by their bias; NaN where undefined.

    ``confidence`` is the share of the resamples that an interval holds.
    """
    bias = bias_of(observed, resampled)
    some = ~np.isnan(bias)
    ends = np.full((2, len(observed)), np.nan)
    outside = (1 - confidence) / 2
    if some.any():
        ends[:, some] = np.nanquantile(resampled[:, some], [outside, 1 - outside], axis=0)
    low, high = ends - bias
    return Intervals(low, high, bias, (~np.isnan(resampled)).sum(axis=0))


def describe(
    observed: Float64[np.ndarray, " V"],
    resampled: Float64[np.ndarray, "N V"],
    category_ids: Sequence[int],
    confidence: float = CONFIDENCE,
) -> dict[str, Any]:
    """Describe numbers and their intervals for JSON.

    Returns:
        ``overall`` by ``METRIC_NAMES``, ``per_category`` AP by id: the value, the ends of its
        interval within 0..1, the bias that moved them (null where undefined), and the number of
        resamples that define it. Values and ends are -1 where undefined.
    """
    of_values = percentile_intervals(
        undefined_as_nan(observed), undefined_as_nan(resampled), confidence
    )
    rows = [
        {
            "value": value,
            "low": UNDEFINED if isnan(bias) else max(low, 0.0),
            "high": UNDEFINED if isnan(bias) else min(high, 1.0),
            "bias": None if isnan(bias) else bias,
            "resamples": num_defined,
        }
        for value, low, high, bias, num_defined in zip(
            observed.tolist(),
            of_values.low.tolist(),
            of_values.high.tolist(),
            of_values.bias.tolist(),
            of_values.num_defined.tolist(),
            strict=True,
        )
    ]
    return {
        "confidence": confidence,
        "resamples": len(resampled),
        **named_values(rows, category_ids),
    }


def named_values(
    rows: Sequence[dict[str, Any]], category_ids: Sequence[int]
) -> dict[str, dict[Any, dict[str, Any]]]:
    """Split rows of all values: ``overall`` by ``METRIC_NAMES``, ``per_category`` AP by id."""
    first = len(METRIC_NAMES)
    return {
        "overall": dict(zip(METRIC_NAMES, rows[:first], strict=True)),
        "per_category": dict(zip(category_ids, rows[first:], strict=True)),
    }
