"""Scoring spread over blocks of images: what a block is made of, and what comes back of it."""
