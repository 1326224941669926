"""The largest images and frames that are decoded, in pixels."""

MAX_PIXELS = 178_956_970
"""Limit for one image: half a gibibyte at 24 bits, the limit that other tools use too."""

MAX_FRAME_PIXELS = 8192 * 8192
"""Limit for one frame of a video; larger frames are refused before they are allocated."""
