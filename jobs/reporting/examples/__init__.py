"""Example images: selected, matched with their ground truth, drawn."""
