"""Example images: selected, matched, drawn."""
