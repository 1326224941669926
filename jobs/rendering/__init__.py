"""Draws the detections of a run, and the encoding of annotated boxes."""
