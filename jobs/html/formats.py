"""Writes numbers and texts for the page."""

from __future__ import annotations

import unicodedata

DASH = "\N{EN DASH}"
UNDEFINED = DASH
"""Text of a number that COCO leaves undefined, or that would be divided by zero."""

LONGEST_TEXT = 240
"""Characters of a name, path or message; a longer text is cut in its middle."""

_LAYOUT = "\n\t"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_ELLIPSIS = "…"
_THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"
_SECONDS_PER_MINUTE = 60
_FIRST_OF_THREE_DIGITS = 100


def share(value: float | None, digits: int = 3) -> str:
    """Write a number of 0..1: ``0.748``; a negative number is undefined."""
    return UNDEFINED if value is None or value < 0 else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share in percent: ``74.8 %``; a negative number is undefined."""
    if value is None or value < 0:
        return UNDEFINED
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def between(low: str, high: str) -> str:
    """Write an interval with a dash; one without a high end as ``from 0.50 on``."""
    return f"{low}{DASH}{high}" if high else f"from {low} on"


def count(value: float) -> str:
    """Write a whole number with narrow gaps between thousands."""
    return f"{value:,.0f}".replace(",", _THIN_SPACE)


def counted(value: int, noun: str) -> str:
    """Write a number with its noun: ``1 image``, ``2 images``."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def rate(value: float) -> str:
    """Write a number per second with about three digits."""
    return count(value) if value >= _FIRST_OF_THREE_DIGITS else f"{value:.3g}"


def seconds(value: float) -> str:
    """Write a duration: ``8.3 s``, ``4 min 10 s``, ``2 h 5 min``."""
    if value < _SECONDS_PER_MINUTE:
        return f"{value:.1f}\N{NO-BREAK SPACE}s"
    minutes, rest = divmod(round(value), _SECONDS_PER_MINUTE)
    if minutes < _SECONDS_PER_MINUTE:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, _SECONDS_PER_MINUTE)
    return f"{count(hours)} h {minutes} min"


def text(value: object, longest: int = LONGEST_TEXT) -> str:
    """Make a user's text fit to be shown: one line, no invisible characters, not too long.

    A long text is cut in its middle, since the ends of a path say more.
    """
    line = " ".join(str(value).split())
    line = "".join(letter if letter.isprintable() else _REPLACEMENT for letter in line)
    if len(line) <= longest:
        return line
    half = (longest - 1) // 2
    return line[: longest - 1 - half] + _ELLIPSIS + line[-half:]


def visible(text: str) -> str:
    """Replace what has no shape of its own, or turns the direction of what follows.

    Line ends, tabs and spaces of every width stay.
    """
    if text.isprintable():
        return text
    return "".join(
        letter
        if letter.isprintable() or letter in _LAYOUT or unicodedata.category(letter) == "Zs"
        else _REPLACEMENT
        for letter in text
    )
