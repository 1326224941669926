"""From raw outputs to detections, a whole batch at once; section 3.1.

Threshold, top-k per level, boxes, non-maximum suppression. Everything here is float32 or better,
whatever the network's precision: half a class offset of ~60,000 is not representable in 16 bits.
"""

from fcos_core.decoding.forms import decode, decode_again
from fcos_core.decoding.structures import DecodedBatch

__all__ = ["DecodedBatch", "decode", "decode_again"]
