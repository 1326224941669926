"""File names that are taken for media when a folder, a pattern or an archive is searched."""

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif")
VIDEO_EXTENSIONS = (
    *("mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts"),
    *("wmv", "flv", "3gp", "ogv"),
)


def is_image_name(name: str) -> bool:
    """Say whether a name ends like an image's, in any case. Content decides what it really is."""
    return _extension(name) in IMAGE_EXTENSIONS


def is_video_name(name: str) -> bool:
    """Say whether a name ends like a video's, in any case."""
    return _extension(name) in VIDEO_EXTENSIONS


def _extension(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[2].lower()
