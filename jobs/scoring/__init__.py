"""Scores detections against ground truth in blocks of images, and joins the blocks' scores."""
