"""Seeded damage of files, like that by disks, networks and attackers."""

from collections.abc import Callable, Sequence

import numpy as np

Random = np.random.Generator

_TELLING = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
_HEADER_BYTES = 64
_LONGEST_BLOCK = 512


def mutate(data: bytes, donors: Sequence[bytes], random: Random) -> bytes:
    """Damage a file in one way, or in three.

    Args:
        data: the file.
        donors: other files, parts of which may get into it.
        random: decides everything, so that a seed names the result.
    """
    damaged = bytearray(data)
    for _ in range(1 if random.random() < 0.6 else 3):
        way = _WAYS[int(random.integers(len(_WAYS)))]
        damaged = way(damaged, donors, random)
    return bytes(damaged)


def _place(data: bytearray, random: Random) -> int:
    """Choose a byte, every other time one near the beginning, where headers are."""
    reach = min(len(data), _HEADER_BYTES) if random.random() < 0.5 else len(data)
    return int(random.integers(reach)) if reach else 0


def _flip_bits(data: bytearray, donors: Sequence[bytes], random: Random) -> bytearray:
    del donors
    for _ in range(int(random.integers(1, 9)) if data else 0):
        data[_place(data, random)] ^= 1 << int(random.integers(8))
    return data


def _set_bytes(data: bytearray, _: Sequence[bytes], random: Random) -> bytearray:
    start, length = _place(data, random), int(random.integers(1, 9))
    data[start : start + length] = bytes([_TELLING[int(random.integers(len(_TELLING)))]]) * length
    return data


def _cut_end(data: bytearray, _: Sequence[bytes], random: Random) -> bytearray:
    return data[: _place(data, random)]


def _cut_out(data: bytearray, _: Sequence[bytes], random: Random) -> bytearray:
    start = _place(data, random)
    del data[start : start + int(random.integers(1, _LONGEST_BLOCK))]
    return data


def _repeat(data: bytearray, _: Sequence[bytes], random: Random) -> bytearray:
    start = _place(data, random)
    block = data[start : start + int(random.integers(1, _LONGEST_BLOCK))]
    data[start:start] = block * int(random.integers(1, 4))
    return data


def _splice(data: bytearray, donors: Sequence[bytes], random: Random) -> bytearray:
    """Replace the rest of a file by the rest of another, from the same offset or from any."""
    donor = donors[int(random.integers(len(donors)))]
    start = _place(data, random)
    theirs = start if random.random() < 0.5 else int(random.integers(len(donor) + 1))
    return data[:start] + donor[theirs:]


def _transplant(data: bytearray, donors: Sequence[bytes], random: Random) -> bytearray:
    """Replace a block of a file by a block of another."""
    donor = donors[int(random.integers(len(donors)))]
    start, theirs = _place(data, random), int(random.integers(len(donor) + 1))
    length = int(random.integers(1, _LONGEST_BLOCK))
    data[start : start + length] = donor[theirs : theirs + length]
    return data


def _add_noise(data: bytearray, _: Sequence[bytes], random: Random) -> bytearray:
    start = _place(data, random)
    data[start:start] = random.bytes(int(random.integers(1, _LONGEST_BLOCK)))
    return data


_WAYS: tuple[Callable[[bytearray, Sequence[bytes], Random], bytearray], ...] = (
    _flip_bits,
    _flip_bits,
    _set_bytes,
    _cut_end,
    _cut_out,
    _repeat,
    _splice,
    _transplant,
    _add_noise,
)
