"""Images and videos: decoded to upright RGB pixels, drawn on, and written as mp4."""
