"""Reading pixels: decoded, upright, RGB."""
