"""What training a model on COCO-format data is made of, from settings to files."""
