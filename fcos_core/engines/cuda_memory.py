"""How many images a CUDA device takes at once; no torch, since a plan is made without it."""

from fcos_core.config import ModelConfig, Precision

MAX_BATCH_SIZE = 32
"""Larger batches compute no faster per image, and wait longer for their last one."""

_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}

# What is alive at the peak per pixel of the padded input. The first residual stage of a ResNet-50
# has 256 channels at stride 4, which is 16 values per pixel, and four such maps: input, shortcut,
# the middle ones, output. Pyramid, head and their outputs hold less when their turn comes.
_NETWORK_VALUES_PER_PIXEL = 64
_NARROW_VALUES_PER_PIXEL = 32  # basic blocks and MobileNet: 64 channels at stride 2 or 4
_NARROW = ("resnet18", "resnet34", "mobilenet_v3_small", "mobilenet_v3_large")

_INPUT_BYTES_PER_PIXEL = 48  # three channels as uint8 and float32, and resized, of two batches

# Suppression compares every pair of at most 1000 candidates in float64: two coordinates twice.
_DECODING_BYTES_PER_PAIR = 64
_MAX_CANDIDATES = 1000
_SCORE_BYTES = 16  # of each location and class: the logit, its float32, the key, and a copy
_LOCATIONS_PER_PIXEL = 1 / 48  # strides 8 to 128: 1/64 + 1/256 + ...

_USABLE = 0.6  # of what is free: the rest is for cuDNN, its workspaces, and graphs of other shapes


def bytes_per_image(
    padded_shape: tuple[int, int], config: ModelConfig, precision: Precision
) -> int:
    """Upper bound of the memory that an image of a batch takes beside the weights.

    Args:
        padded_shape: height and width of the network's input.
        config: of the model.
        precision: of the network.
    """
    pixels = padded_shape[0] * padded_shape[1]
    values = (
        _NARROW_VALUES_PER_PIXEL if config.backbone.name in _NARROW else _NETWORK_VALUES_PER_PIXEL
    )
    per_pixel = values * _BYTES[precision] + _INPUT_BYTES_PER_PIXEL
    per_pixel += config.num_classes * _LOCATIONS_PER_PIXEL * _SCORE_BYTES
    return int(pixels * per_pixel) + _MAX_CANDIDATES**2 * _DECODING_BYTES_PER_PAIR


def cuda_batch_size(
    free_bytes: int, padded_shape: tuple[int, int], config: ModelConfig, precision: Precision
) -> int:
    """The largest power of two, at most 32, whose images fit into six tenths of free memory.

    A worker that meets a larger shape than this one halves its batch.

    Args:
        free_bytes: memory of the device that nobody uses, weights included.
        padded_shape: height and width of the largest usual input.
        config: of the model.
        precision: of the network.
    """
    fitting = int(free_bytes * _USABLE) // bytes_per_image(padded_shape, config, precision)
    size = 1
    while 2 * size <= min(fitting, MAX_BATCH_SIZE):
        size *= 2
    return size
