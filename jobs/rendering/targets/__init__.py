"""Pages that show what ground-truth encoding makes of an image."""
