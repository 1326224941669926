"""Column names, types and units of everything a run writes, and its only reader and writer."""
