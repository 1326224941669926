"""Damaged headers of tar archives, whose checksums are right: an index, or one clear line."""

from pathlib import Path

import numpy as np

from fcos_core.errors import DataError
from jobs.inputs.tar_index import TarMember, read_tar_index
from jobs.storage import storage_for
from tests.fuzz.conftest import SEED, cases
from tests.fuzz.mutations import mutate
from tests.jobs.inputs import tar_bytes as tar

BLOCK = 512
EXTENTS = [(10, 20), (600, 3), (700, 30), (800, 1), (900, 1)]
SOURCE = b"".join(
    [
        tar.file("0.jpg", b"zero"),
        tar.symlink("a.jpg", "sub/../0.jpg"),
        tar.hard_link("b.jpg", "a.jpg"),
        tar.sparse_gnu("s.jpg", bytes(1000), EXTENTS),
        tar.sparse_pax_0_0("t.jpg", bytes(1000), EXTENTS),
        tar.sparse_pax_0_1("u.jpg", bytes(1000), EXTENTS),
        tar.sparse_pax_1_0("v.jpg", bytes(1000), EXTENTS),
        tar.pax(("path", "n" * 300 + ".jpg"), ("size", 4), ("mtime", 1.5)) + tar.file("x", b"four"),
        tar.END,
        tar.file("j.jpg", b"joined"),
        tar.END,
    ]
)
NUM_BLOCKS = len(SOURCE) // BLOCK


def damaged(random: np.random.Generator) -> bytes:
    """Damage some blocks, or move the end of the archive, and sum up the headers anew."""
    blocks = [SOURCE[i * BLOCK : (i + 1) * BLOCK] for i in range(NUM_BLOCKS)]
    for _ in range(int(random.integers(1, 4))):
        at = int(random.integers(NUM_BLOCKS))
        other = blocks[int(random.integers(NUM_BLOCKS))]
        blocks[at] = mutate(blocks[at], [other], random)[:BLOCK].ljust(BLOCK, b"\0")
    blocks = [
        tar.with_checksum(bytearray(block)) if block[257:262] == b"ustar" else block
        for block in blocks
    ]
    return b"".join(blocks)[: int(random.integers(BLOCK, 2 * len(SOURCE)))]


@cases(few=60, many=5_000)
def test_a_damaged_archive_has_an_index_or_a_reason(count: int, tmp_path: Path):
    path = tmp_path / "a.tar"
    reasons: list[str] = []
    for number in range(count):
        data = damaged(np.random.default_rng([SEED, number]))
        path.write_bytes(data)
        info = storage_for(str(path)).stat(str(path))
        assert info is not None
        try:
            for member in read_tar_index(info).members.values():
                if isinstance(member, TarMember) and member.size_bytes < len(SOURCE):
                    stored = data[member.start : member.start + member.stored_bytes]
                    assert len(stored) == member.stored_bytes
                    assert len(member.expand(stored)) == member.size_bytes
        except DataError as error:
            reasons.append(str(error))
        except BaseException as error:
            error.add_note(f"case {number} of seed {SEED}: {data!r}")
            raise
    assert 0 < len(reasons) < count
    assert all(reason.isprintable() for reason in reasons)
