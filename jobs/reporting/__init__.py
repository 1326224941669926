"""The page that ``fcos report`` writes: what it says, how it is drawn, how it stays small."""
