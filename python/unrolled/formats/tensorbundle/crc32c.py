# SPDX-License-Identifier: MIT
"""CRC-32C (Castagnoli), and TensorFlow's masked form of it, fast enough for files of 100 MB in NumPy.

A checksum's register is linear in the data over GF(2): the register of ``a + b`` is that of ``a`` advanced by
``len(b)`` zero bytes, exclusive-or that of ``b``. So the data are laid out as words in lanes side by side, all
lanes advance together by table look-ups, and the lanes are folded in halves at the end.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78  # reflected
_LANES = 1 << 14
_MASK_DELTA = 0xA282EAD8  # tensorflow/core/lib/hash/crc32c.h

Words = NDArray[np.uint32]


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of ``data``."""
    view = memoryview(data)
    whole = len(view) // 4 * 4
    register = 0xFFFFFFFF
    if whole >= 64:
        words = np.frombuffer(view[:whole], dtype="<u4")
        register = _fold(words, register)
    else:
        whole = 0
    table = _byte_table()
    for byte in view[whole:]:
        register = table[(register ^ byte) & 0xFF] ^ register >> 8
    return register ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview) -> int:
    """The checksum as TensorFlow stores it, so that data that hold checksums do not check themselves."""
    return mask(crc32c(data))


def mask(checksum: int) -> int:
    """TensorFlow's masked form of a checksum."""
    return ((checksum >> 15 | checksum << 17) + _MASK_DELTA) & 0xFFFFFFFF


def _fold(words: Words, register: int) -> int:
    """The register after all words, from the one before them."""
    lanes = min(_LANES, 1 << (len(words) - 1).bit_length())
    first = len(words) % lanes or lanes
    # Zero words before the data leave a register of zero as it is.
    state = np.zeros(lanes, dtype=np.uint32)
    state[lanes - first :] = words[:first]
    state[lanes - first] ^= np.uint32(register)
    tables = _tables(4 * lanes)
    for start in range(first, len(words), lanes):
        state = _advance(tables, state) ^ words[start : start + lanes]
    while len(state) > 1:
        half = len(state) // 2
        state = _advance(_tables(4 * half), state[:half]) ^ state[half:]
    return int(_advance(_tables(4), state)[0])


def _advance(tables: Words, state: Words) -> Words:
    octets = state.astype("<u4", copy=False).view(np.uint8).reshape(-1, 4)
    result: Words = tables[0].take(octets[:, 0])
    for number in (1, 2, 3):
        result ^= tables[number].take(octets[:, number])
    return result


@functools.cache
def _byte_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


@functools.cache
def _columns(count: int) -> tuple[int, ...]:
    """What each bit of a register becomes after ``count`` (a power of two) zero bytes."""
    if count == 1:
        table = _byte_table()
        return tuple(table[bit & 0xFF] ^ bit >> 8 for bit in (1 << place for place in range(32)))
    half = _columns(count // 2)
    return tuple(_apply(half, column) for column in half)


def _apply(columns: tuple[int, ...], value: int) -> int:
    result = 0
    for column in columns:
        if value & 1:
            result ^= column
        value >>= 1
    return result


@functools.cache
def _tables(count: int) -> Words:
    """What each byte of a register becomes after ``count`` zero bytes, [4, 256]."""
    tables = np.zeros((4, 256), dtype=np.uint32)
    for place, column in enumerate(_columns(count)):
        octet, bit = divmod(place, 8)
        tables[octet, 1 << bit : 2 << bit] = tables[octet, : 1 << bit] ^ np.uint32(column)
    return tables
