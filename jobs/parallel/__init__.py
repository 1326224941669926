"""A function in another process: a child, Ray tasks, Ray Train; and what the machine has."""
