"""Damage that changes no pixel is noted in one line; a sound file has no note."""

import numpy as np
import pytest

from jobs.media.image.decode import decode_noting
from tests.jobs.media.image.files import FORMATS, encode, photo
from tests.jobs.media.image.rare_files import png_chunk, png_chunks
from tests.jobs.media.image.test_harmless_damage import SIGNATURE, damaged


def noted(data: bytes) -> str | None:
    """The note of a file, whose pixels are those of the sound one."""
    pixels, note = decode_noting(data, place="here", max_pixels=10_000)
    assert pixels.shape == np.asarray(photo()).shape
    if note is not None:
        assert note.isprintable()
        assert note.encode()
    return note


@pytest.mark.parametrize("image_format", FORMATS)
def test_a_sound_file_has_no_note(image_format: str):
    assert noted(encode(photo(), image_format)) is None


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_mark_is_noted(*, progressive: bool):
    data = encode(photo(), "JPEG", progressive=progressive)
    assert "no pixel depends on it" in str(noted(data[:-2]))


def test_a_png_without_its_end_is_noted():
    data = encode(photo(), "PNG")
    assert noted(data[:-12]) == "PNG without its end mark; all pixels are in the file"


@pytest.mark.parametrize("kind", [b"tEXt", b"eXIf", b"t\xe9xt", b"t\0\nt"])
def test_a_damaged_chunk_of_a_png_is_noted(kind: bytes):
    header, pixels, end = png_chunks(encode(photo(), "PNG"))
    chunk = damaged(png_chunk(kind, b"Title\0untitled"))
    name = kind.decode("latin-1")
    for chunks in ((header, chunk, pixels, end), (header, pixels, chunk, end)):
        note = noted(SIGNATURE + b"".join(chunks))
        assert note == f"PNG with a damaged chunk {name!r}; no pixel depends on it"
    assert noted(SIGNATURE + header + pixels + end + b"anything") is None


def test_a_file_that_is_converted_has_no_note_for_that():
    for mode in ("L", "CMYK"):
        data = encode(photo().convert(mode), "JPEG")
        assert noted(data) is None
    assert noted(encode(photo().convert("P"), "PNG")) is None
