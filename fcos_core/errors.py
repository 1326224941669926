"""Every error the project raises on purpose, by what it means for a run.

A message carries the value, the limit and the place: ``image 42, box 3: x2 10 <= x1 10``.
"""


class FcosError(Exception):
    """The base of all errors that are an answer to somebody's input and not a bug."""


class ConfigError(FcosError):
    """The command cannot work as asked; nothing was started. Exit code 2."""


class CheckpointError(FcosError):
    """Weights and configuration disagree, or the weights cannot be read. Exit code 2."""


class DataError(FcosError):
    """This one item cannot be used; it is recorded in its row and the run goes on."""


class ImageError(DataError):
    """The bytes are no image that can be decoded whole and within the caps."""


class VideoError(DataError):
    """The stream cannot be indexed or decoded."""


class AnnotationError(DataError):
    """An annotation file or one of its entries is malformed."""


class NotFiniteError(DataError):
    """The network answers this image with NaN or infinity."""


class DeviceMemoryError(DataError):
    """The image needs more memory than the device has, even alone in its batch."""


class WorkerDiedError(DataError):
    """Whoever computes this item dies of it: alone, in a fresh process, again and again."""


class DeviceError(FcosError):
    """The device or this process can no longer be trusted; a fresh process may do better."""


class StorageError(FcosError):
    """An object cannot be read or written now; worth another try, a bounded number of times."""


class IncompleteRunError(FcosError):
    """Items are missing from the run. Exit code 3, never 0."""
