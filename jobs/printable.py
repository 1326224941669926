"""Text that cannot steer a terminal, nor look like another line."""


def printable(text: str) -> str:
    """Escape every character that Python calls unprintable, line ends too, as ``repr`` does.

    These are control characters, marks that turn the direction of text, lone surrogates, characters
    without width, and spaces other than the usual one.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def printable_lines(text: str) -> str:
    """Escape as ``printable`` does, but keep line ends."""
    if text.isprintable():
        return text
    return "\n".join(map(printable, text.split("\n")))
