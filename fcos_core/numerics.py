"""The version of what this project's own code computes from pixels."""

NUMERICS_VERSION = 2
"""Raised by each change after which the same pixels and weights give other bits.

A run is resumed only with the version it began with. ``tests/golden/numerics.json`` holds
detections of the present version, and a test compares them.
"""
