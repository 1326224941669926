"""The score of a (location, class) pair, and the logit below which no pair passes; section 3.3."""

import math
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fcos_core.config import DecodingConfig
from fcos_core.elementwise import sigmoid

ScoreT = TypeVar("ScoreT", float, np.float32, Tensor)

REJECTED = -1.0
"""Stands for the score of a pair that does not pass the threshold."""

# A share of a score, much more than float32 arithmetic can be wrong by.
_MARGIN = 1e-5

# Below it no bound is worth its proof: the logistic function comes near to underflow.
_LEAST_BOUNDED = 1e-30


def all_scores(
    cls_logits: Float[Tensor, "*#N"],
    centerness_logits: Float[Tensor, "*#N"],
    config: DecodingConfig,
) -> tuple[Float[Tensor, "*N"], Float[Tensor, "*N"]]:
    """The score of each pair, and what must exceed the threshold.

    The formula is written here and nowhere else. A pair's score has the same bits however many
    others are computed with it.
    """
    classification = sigmoid(cls_logits.float())
    product = classification * sigmoid(centerness_logits.float())
    scores = product.sqrt() if config.score == "sqrt" else product
    return scores, scores if config.threshold_on == "score" else classification


def pair_scores(
    cls_logits: Float[Tensor, "*#N"],
    centerness_logits: Float[Tensor, "*#N"],
    config: DecodingConfig,
) -> Float[Tensor, "*N"]:
    """The score of each pair, ``REJECTED`` where it does not pass the threshold."""
    scores, compared = all_scores(cls_logits, centerness_logits, config)
    return torch.where(compared > config.score_threshold, scores, REJECTED)


def with_margin(score: ScoreT) -> ScoreT:
    """A score so much lower that rounding cannot lift a pair from below it to ``score``."""
    return score * (1 - _MARGIN)


def least_logit(config: DecodingConfig) -> float:
    """A class logit below which no pair passes, whatever its centre-ness; -inf if there is none.

    As centre-ness is at most 1, a score above ``t`` needs a classification above ``t``, and if the
    score is a root, above ``t`` squared. Compare with ``>=``: for logits in half precision torch
    rounds the bound to theirs, and a logit above the bound is not below the rounded one.
    """
    least = config.score_threshold
    if config.threshold_on == "score" and config.score == "sqrt":
        least *= least
    least = with_margin(least)
    return -math.inf if least < _LEAST_BOUNDED else math.log(least) - math.log1p(-least)
