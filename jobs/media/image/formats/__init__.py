"""One module per image format: its header, and the checks that its decoder lacks."""
