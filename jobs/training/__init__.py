"""Training on COCO-format data: the loop, its examples, its checkpoints and its log."""
