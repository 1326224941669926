"""The manifest: what is to be done, in parts of a million items, and the index of its shards."""
