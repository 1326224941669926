"""Images: bytes to upright RGB pixels, or the exact reason why they cannot be decoded."""
