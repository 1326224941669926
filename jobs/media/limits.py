"""The largest images and frames that are decoded, in pixels."""

MAX_PIXELS = 178_956_970
"""Of one image: a quarter of a gibibyte at 24 bits, the limit other tools use as well."""

MAX_FRAME_PIXELS = 8192 * 8192
"""Of one frame of a video; a larger one is refused before it is allocated."""
