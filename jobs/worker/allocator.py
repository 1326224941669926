"""Keeps the memory of one image's tensors for the next one."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MMAP_FROM_BYTES = 2**30
_TRIM_FROM_BYTES = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to reuse freed memory instead of returning it to the system.

    By default a large tensor is a mapping of its own: each image maps hundreds of megabytes, and
    the system fills each page with zeros. Other allocators are left alone.

    Returns:
        Whether the allocator took the settings.
    """
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "mallopt")):
        return False
    taken = [
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM_BYTES),
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_FROM_BYTES),
    ]
    return all(taken)
