"""A small detection dataset drawn from a seed: textured, rotated, overlapping shapes on clutter."""

from jobs.synthetic.dataset import generate
from jobs.synthetic.shapes import CATEGORIES

__all__ = ["CATEGORIES", "generate"]
