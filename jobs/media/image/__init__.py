"""Images: bytes to upright RGB pixels, or the true reason why not."""
