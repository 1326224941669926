"""The settings of each command, from which the command line is made."""
