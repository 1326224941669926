"""What to look at: the items that inputs stand for, and the bytes and frames of one item."""
