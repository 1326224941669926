"""COCO files read as columns, and joined to what a run looked at."""
