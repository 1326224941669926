"""What a run is: the files in its directory, their tables, and the proof that they are complete."""
