"""Every error the project raises on purpose, by what it means for a run.

A message carries the value, the limit and the place: ``image 42, box 3: x2 10 <= x1 10``.
"""


class FcosError(Exception):
    """The base of all errors that input or environment cause; other exceptions are bugs."""


class ConfigError(FcosError):
    """The command cannot work with these settings; nothing was started. Exit code 2."""


class CheckpointError(FcosError):
    """Weights and configuration disagree, or the weights cannot be read. Exit code 2."""


class DataError(FcosError):
    """One item cannot be used; its row records the error and the run goes on."""


class ImageError(DataError):
    """The bytes are not an image that can be decoded completely and within the limits."""


class VideoError(DataError):
    """The stream cannot be indexed or decoded."""


class AnnotationError(DataError):
    """An annotation file or one of its entries is malformed."""


class NotFiniteError(DataError):
    """The network's outputs for this image contain NaN or infinity."""


class DeviceMemoryError(DataError):
    """The image needs more memory than the device has, even in a batch of one."""


class WorkerDiedError(DataError):
    """The process that works on this item dies each time, even a new process with no other item."""


class DeviceError(FcosError):
    """The device or this process has failed; a new process may succeed."""


class StorageError(FcosError):
    """An object cannot be read or written now; it is retried a limited number of times."""


class IncompleteRunError(FcosError):
    """Items are missing from the run. Exit code 3, never 0."""


def one_line(error: Exception) -> str:
    """Join the lines of an error's message."""
    return " ".join(str(error).split())
