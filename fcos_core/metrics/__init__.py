"""Numbers about boxes: dataset-wide metrics over arrays, no files."""
