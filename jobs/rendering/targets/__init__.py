"""Pages that show what ground-truth encoding makes of annotated images."""
