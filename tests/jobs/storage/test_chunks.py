"""The chunks of an object are its content, and their sha256 is that of the whole."""

import hashlib
from pathlib import Path

import pytest

from fcos_core.errors import StorageError
from jobs.storage.chunks import HashedChunks


@pytest.mark.parametrize("size", [0, 1, 6, 7, 8, 14, 15])
def test_chunks_are_the_object_in_order(tmp_path: Path, size: int):
    data = bytes(range(size))
    path = tmp_path / "x#y.json"
    path.write_bytes(data)

    chunks = HashedChunks(str(path), chunk_bytes=7)
    pieces = list(chunks)

    assert b"".join(pieces) == data
    assert all(len(piece) == 7 for piece in pieces[:-1])
    assert chunks.sha256 == hashlib.sha256(data).hexdigest()


def test_an_object_that_changes_while_it_is_read_is_refused(tmp_path: Path):
    path = tmp_path / "x.json"
    path.write_bytes(b"0123456789")
    pieces = iter(HashedChunks(str(path), chunk_bytes=5))
    assert next(pieces) == b"01234"

    path.write_bytes(b"another file, longer")

    with pytest.raises(StorageError, match=r"x\.json. has changed: it was 10 bytes"):
        list(pieces)


def test_a_missing_object_is_named(tmp_path: Path):
    with pytest.raises(StorageError, match=r"none\.json' cannot be read"):
        list(HashedChunks(str(tmp_path / "none.json")))
