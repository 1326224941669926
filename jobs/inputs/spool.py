"""Rows that may be more than memory holds: appended in batches, read in batches again and again."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyarrow has no types

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Generator, Iterator

import pyarrow as pa

from fcos_core.errors import ConfigError, one_line

MEMORY_ROWS = 200_000
"""The most rows that one spool, or one sort, keeps in memory."""

BATCH_ROWS = 8_192
"""A usual number of rows in a batch."""

_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


class TemporaryFolder:
    """A folder for what memory does not hold.

    It is made when the first file is, in TMPDIR, and removed on ``close``, when nothing refers to
    this object any more, or when the process ends.
    """

    def __init__(self) -> None:
        self._path: str | None = None
        self._num_files = 0
        self._remove: weakref.finalize[[str, int], TemporaryFolder] | None = None

    @property
    def place(self) -> str:
        """The folder, or the one in which it will be made."""
        return self._path or tempfile.gettempdir()

    def new_file(self) -> str:
        """Give the path of a file that does not exist yet.

        Raises:
            ConfigError: there is no room for a folder.
        """
        if self._path is None:
            with self.writing():
                self._path = tempfile.mkdtemp(prefix="fcos-plan-")
            self._remove = weakref.finalize(self, _remove, self._path, os.getpid())
        self._num_files += 1
        return os.path.join(self._path, f"{self._num_files}.arrow")  # noqa: PTH118 -- for Arrow

    @contextlib.contextmanager
    def writing(self) -> Generator[None]:
        """Say in one line what the user can do when a file of the folder cannot be written or read.

        Raises:
            ConfigError: the disk is full, or fails.
        """
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"{self.place!r} cannot hold what is planned: {one_line(error)}; "
                "let TMPDIR name a folder with more space"
            ) from error

    def close(self) -> None:
        """Remove the folder and its files."""
        if self._remove is not None:
            self._remove()
        self._path = self._remove = None


def _remove(path: str, owner: int) -> None:
    # A child process has a copy of the folder's object, whose end must not take the files away.
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


class Spool:
    """Rows of one schema, in order; beyond ``memory_rows`` they lie in files of a folder.

    Args:
        schema: of the rows.
        folder: for the files; None makes one for this spool alone.
        memory_rows: the most rows to keep in memory.
    """

    def __init__(
        self,
        schema: pa.Schema,
        folder: TemporaryFolder | None = None,
        *,
        memory_rows: int = MEMORY_ROWS,
    ) -> None:
        self.schema = schema
        self.folder = folder or TemporaryFolder()
        self._memory_rows = memory_rows
        self._files: list[str] = []
        self._memory: list[pa.RecordBatch] = []
        self._rows_in_memory = 0
        self._num_rows = 0
        self._sink: pa.OSFile | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None

    def __len__(self) -> int:
        """Count the rows."""
        return self._num_rows

    @property
    def is_on_disk(self) -> bool:
        """Whether some of the rows lie in files."""
        return bool(self._files)

    def append(self, batch: pa.RecordBatch) -> None:
        """Add rows at the end.

        Raises:
            ConfigError: the disk is full.
        """
        if not batch.num_rows:
            return
        assert batch.schema.equals(self.schema), f"{batch.schema} is not {self.schema}"
        self._memory.append(batch)
        self._rows_in_memory += batch.num_rows
        self._num_rows += batch.num_rows
        if self._rows_in_memory > self._memory_rows:
            self._write_memory()

    def take_over(self, other: Spool) -> None:
        """Add all rows of another spool of the same folder, which is empty from then on."""
        assert other.folder is self.folder
        other.finish()
        if other._files:
            self._write_memory()
            self.finish()
        self._files += other._files
        self._num_rows += other._num_rows - other._rows_in_memory
        for batch in other._memory:
            self.append(batch)
        other._files, other._memory = [], []
        other._num_rows = other._rows_in_memory = 0

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read the rows, in batches as they were appended; nothing may be appended meanwhile.

        Yields:
            At least one row at a time.

        Raises:
            ConfigError: a file cannot be read.
        """
        self.finish()
        for path in self._files:
            with self.folder.writing():
                source = pa.OSFile(path)
            with source:
                reader = pa.ipc.open_stream(source)
                while True:
                    with self.folder.writing():
                        try:
                            batch = reader.read_next_batch()
                        except StopIteration:
                            break
                    yield batch
        yield from self._memory

    def finish(self) -> None:
        """Close the file that rows are written to; later rows go to another one."""
        writer, sink, self._writer, self._sink = self._writer, self._sink, None, None
        if writer is None or sink is None:
            return
        with self.folder.writing(), sink:
            writer.close()

    def close(self) -> None:
        """Forget the rows and remove their files."""
        self.finish()
        for path in self._files:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 -- a str each
        self._files, self._memory = [], []
        self._num_rows = self._rows_in_memory = 0

    def _write_memory(self) -> None:
        if not self._memory:
            return
        with self.folder.writing():
            writer = self._writer or self._begin_file()
            for batch in self._memory:
                writer.write_batch(batch)
        self._memory, self._rows_in_memory = [], 0

    def _begin_file(self) -> pa.ipc.RecordBatchStreamWriter:
        self._files.append(self.folder.new_file())
        self._sink = pa.OSFile(self._files[-1], "wb")
        self._writer = pa.ipc.new_stream(self._sink, self.schema, options=_COMPRESSED)
        return self._writer


def rebatched(batches: Iterator[pa.RecordBatch], num_rows: int) -> Iterator[pa.RecordBatch]:
    """Cut batches into smaller ones.

    Yields:
        Batches of at most ``num_rows`` rows.
    """
    for batch in batches:
        for start in range(0, batch.num_rows, num_rows):
            yield batch.slice(start, num_rows)
