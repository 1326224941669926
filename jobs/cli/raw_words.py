"""Starts the command anew when a word of its command line is not UTF-8, with that word as a uri.

Ray reads the command line of this process, to name its job by it, and takes UTF-8 only.
"""

from __future__ import annotations

import os
import sys


def restart_in_utf8() -> None:
    """Replace this process by the same command in UTF-8; return where it is in UTF-8 already."""
    words = sys.argv[1:]
    spelled = list(map(in_utf8, words))
    if spelled == words:
        return
    before = sys.orig_argv[1 : len(sys.orig_argv) - len(words)]
    os.execv(sys.executable, [sys.executable, *before, *spelled])  # noqa: S606 -- the same command


def in_utf8(word: str) -> str:
    """Name the path in a word by its uri, unless it is UTF-8; ``--option=path`` has a path, too."""
    try:
        word.encode()
    except UnicodeEncodeError:
        from jobs.storage import absolute  # not for `fcos --help`

        option, sign, value = word.partition("=") if word.startswith("--") else ("", "", word)
        return f"{option}{sign}{absolute(value)}" if value else word
    return word
