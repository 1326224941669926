"""Limits of a run's files; this file imports nothing, since the settings need it."""

MAX_SHARD_ROWS = 1_000_000
"""Images and frames of one shard; its readers hold all of them."""
