"""Many workers: which shard goes to which actor, what a dead worker costs, which item is poison."""
