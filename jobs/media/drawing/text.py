"""Text on images, in OpenCV's own typeface: Latin, Greek, Cyrillic, Arabic, Chinese.

A character that cannot be drawn becomes a question mark, so any name can be drawn.
"""

from dataclasses import dataclass

import cv2

from jobs.media.drawing.colors import INK, Color, Pixels

_TYPEFACE = "sans"
_LINE_HEIGHT = 1.35
_LEAST_PADDING_PX = 4
_ELLIPSIS = "…"


@dataclass(frozen=True, kw_only=True)
class TextStyle:
    """Size, weight (400 is regular, 600 semibold) and colour of text.

    ``size_px`` is the height of the letters, with ascenders and descenders.
    """

    size_px: int = 14
    weight: int = 400
    color: Color = INK

    @property
    def line_px(self) -> int:
        """Distance from one line to the next."""
        return round(_LINE_HEIGHT * self.size_px)

    @property
    def padding_px(self) -> int:
        """Space left and right of text on a coloured ground."""
        return max(_LEAST_PADDING_PX, self.size_px // 5)


def draw_text(image: Pixels, text: str, x: int, y: int, style: TextStyle) -> None:
    """Write one line below and right of a point; text beyond the image's sides is cut off."""
    face, baseline = cv2.FontFace(_TYPEFACE), y + style.size_px
    cv2.putText(
        image,
        _drawable(text),
        (x, baseline),
        style.color,
        face,
        style.size_px,
        weight=style.weight,
    )


def text_width(text: str, style: TextStyle) -> int:
    """Return the width of a line in pixels."""
    face = cv2.FontFace(_TYPEFACE)
    _, _, width, _ = cv2.getTextSize(
        (0, 0), _drawable(text), (0, 0), face, style.size_px, weight=style.weight
    )
    return width


def shortened(text: str, style: TextStyle, width_px: int) -> str:
    """Return the text, or as much of its beginning as fits, with an ellipsis."""
    if text_width(text, style) <= width_px:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if text_width(text[:middle] + _ELLIPSIS, style) <= width_px:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + _ELLIPSIS


def _drawable(text: str) -> str:
    """Replace line ends, control characters and surrogates: OpenCV crashes on some of them."""
    return "".join(character if character.isprintable() else "?" for character in text)
