"""One shard in one process: prefetched, computed in batches, committed."""
