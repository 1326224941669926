"""One module per picture format: what its header says, and what is wrong with a damaged file."""
