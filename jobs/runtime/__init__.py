"""Planning, one shard, and the only door to Ray."""
