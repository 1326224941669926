"""A small detection dataset drawn from a seed: textured, rotated, overlapping shapes on clutter.

It has images, and a video in which the shapes move.
"""

from jobs.synthetic.dataset import VIDEO_NAME, generate
from jobs.synthetic.shapes import CATEGORIES

__all__ = ["CATEGORIES", "VIDEO_NAME", "generate"]
