"""Functions in other processes (a child, Ray tasks, Ray Train), their guard, and the resources."""
