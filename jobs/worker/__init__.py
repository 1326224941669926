"""One worker: it prefetches a shard's images, computes them in batches and commits the rows."""
