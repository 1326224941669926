"""What the header of each image format says."""
