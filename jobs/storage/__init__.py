"""One way to name, list, read and atomically create an object."""
