"""Functions in other processes (a child, Ray tasks, Ray Train), and the machine's resources."""
