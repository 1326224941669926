"""File extensions by which a folder, a pattern or an archive is searched for media."""

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif")
VIDEO_EXTENSIONS = (
    *("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts"),
    *("wmv", "flv", "3gp", "ogv"),
)


def is_image_name(name: str) -> bool:
    """Say whether a name has an image's extension, in any case; decoding goes by the content."""
    return extension_of(name) in IMAGE_EXTENSIONS


def is_video_name(name: str) -> bool:
    """Say whether a name has a video's extension, in any case."""
    return extension_of(name) in VIDEO_EXTENSIONS


def extension_of(name: str) -> str:
    """Give what follows the last dot of a path's or uri's name, in lower case."""
    return name.rpartition("/")[2].rpartition(".")[2].lower()
