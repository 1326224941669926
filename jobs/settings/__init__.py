"""What a user may ask of each command: one class each, from which the command line is made."""
