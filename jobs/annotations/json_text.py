"""JSON text that is read value by value while only its next part is in memory.

``json``'s scanner in C takes one value from any place of a string. Here that string is a window
which moves over the file. What the scanner says near the window's end is not believed, since the
value may go on behind it: then the window at least doubles and the value is read again, so that
a value of any length is read in time proportional to its length.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, count

from fcos_core.errors import AnnotationError
from jobs.storage.packing import HEAD_BYTES, packing_of

_LOOKAHEAD = 16
"""Characters that must follow a value, or an error in it, before either is believed.

``1.5`` may go on as ``1.5e+10``, and ``-Infin`` as ``-Infinity``.
"""

_UNTERMINATED = "Unterminated string"
"""How ``json`` begins to say that a string has no end; it names where the string began."""

_SPACE = re.compile(r"[ \t\n\r]*")
_ENDS_A_TOKEN = re.compile(r'[ \t\n\r,:\]}"]')
_decode = json.JSONDecoder().raw_decode


class JsonText:
    """The text of a JSON file from the current position on.

    Args:
        chunks: the file's bytes: UTF-8, UTF-16 or UTF-32, with or without a byte order mark.
        uri: the file, for messages.

    Attributes:
        name: the member of the outermost object that is being read, for messages.
        position: the entry of that member that is being read, for messages.
    """

    def __init__(self, chunks: Iterable[bytes], uri: str) -> None:
        self.name: str | None = None
        self.position: int | None = None
        self._chunks, self._encoding = _with_encoding(iter(chunks), uri)
        self._decoder = codecs.getincrementaldecoder(self._encoding)()
        self._uri = uri
        self._window = ""
        self._at = 0
        self._num_passed = 0
        self._num_bytes = 0
        self._is_whole = False

    def peek(self) -> str:
        """The next character that is no white space, left where it is; empty at the end."""
        while True:
            space = _SPACE.match(self._window, self._at)
            assert space is not None
            self._at = space.end()
            if self._at < len(self._window):
                return self._window[self._at]
            if not self._grow():
                return ""

    def expect(self, allowed: str) -> str:
        """The next character that is no white space, left where it is; it must be allowed."""
        char = self.peek()
        if not char:
            raise self._cut()
        if char not in allowed:
            expected = " or ".join(allowed)
            raise self._malformed(f"expected {expected}, found {char!r}", self._at)
        return char

    def take(self, allowed: str) -> str:
        """Take the next character that is no white space; it must be allowed."""
        char = self.expect(allowed)
        self._at += 1
        return char

    def entries(self) -> Iterator[object]:
        """Take a list entry by entry.

        Yields:
            The entries, which are to be taken before anything else is.
        """
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        for position in count():
            self.position = position
            yield self.value()
            if self._window.startswith(", {", self._at):  # the usual case, quicker than below
                self._at += 2
            elif self.take(",]") == "]":
                self.position = None
                return

    def value(self) -> object:
        """Take the next value whole."""
        if not self._window.startswith("{", self._at):
            self.peek()
        while True:
            try:
                value, end = _decode(self._window, self._at)
            except json.JSONDecodeError as error:
                self._refuse_unless_cut(error)
            except RecursionError:
                raise self._malformed("nested too deeply", self._at) from None
            except ValueError as error:  # an integer of thousands of digits
                raise self._malformed(str(error), self._at) from None
            else:
                if self._is_whole or end + _LOOKAHEAD <= len(self._window):
                    self._at = end
                    return value
            self._grow()

    def end(self) -> None:
        """Make sure that only white space is left.

        Raises:
            AnnotationError: the file goes on.
        """
        if char := self.peek():
            raise AnnotationError(
                f"{self._uri}: goes on behind its outermost value with {char!r} "
                f"(char {self._num_passed + self._at})"
            )

    def _grow(self) -> bool:
        """Drop what was taken and at least double the rest; say whether the file went on."""
        pieces = [self._window[self._at :]]
        num_wanted, num_new = max(len(pieces[0]), 1), 0
        while num_new < num_wanted and not self._is_whole:
            pieces.append(self._next_piece())
            num_new += len(pieces[-1])
        self._num_passed += self._at
        self._window, self._at = "".join(pieces), 0
        return num_new > 0

    def _next_piece(self) -> str:
        chunk = next(self._chunks, None)
        try:
            if chunk is not None:
                self._num_bytes += len(chunk)
                return self._decoder.decode(chunk)
            self._is_whole = True
            return self._decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            if chunk is None:  # half a character: a sign for it is no JSON, or an open string
                return "\ufffd"
            # The decoder may have kept bytes of an earlier chunk, so count from the end.
            offset = self._num_bytes - len(error.object) + error.start
            byte = error.object[error.start]
            encoding = self._encoding.removesuffix("-sig").upper()
            message = f"{self._uri}: is not {encoding}: byte 0x{byte:02x} at offset {offset}"
            raise AnnotationError(message) from None

    def _refuse_unless_cut(self, error: json.JSONDecodeError) -> None:
        """Raise for an error that no further text can mend."""
        is_open = error.msg.startswith(_UNTERMINATED)
        if self._is_whole:
            if is_open or _ENDS_A_TOKEN.search(self._window, error.pos) is None:
                raise self._cut() from None
        elif is_open or error.pos + _LOOKAHEAD > len(self._window):
            return
        raise self._malformed(error.msg, error.pos) from None

    def _cut(self) -> AnnotationError:
        return AnnotationError(
            f"{self._uri}: ends in the middle of {self._place()}, after {self._num_bytes} bytes"
        )

    def _malformed(self, what: str, at: int) -> AnnotationError:
        return AnnotationError(
            f"{self._uri}: {self._place()} is not JSON: {what} (char {self._num_passed + at})"
        )

    def _place(self) -> str:
        if self.name is None:
            return "its outermost object"
        return self.name if self.position is None else f"{self.name}[{self.position}]"


def _with_encoding(chunks: Iterator[bytes], uri: str) -> tuple[Iterator[bytes], str]:
    """Find the encoding by the first bytes, as ``json.loads`` does; return all chunks with it.

    Raises:
        AnnotationError: the file is packed.
    """
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    packing = packing_of(head)
    if packing is not None:
        raise AnnotationError(f"{uri}: is {packing}: unpack it first")
    encoding = json.detect_encoding(head)
    return chain([head], chunks), "utf-8-sig" if encoding == "utf-8" else encoding
