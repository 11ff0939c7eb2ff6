# SPDX-License-Identifier: MIT
"""The hashes by which TensorFlow gives words outside a vocabulary their place: FarmHash64 and SipHash.

Both are of bytes and give unsigned 64 bits. Sources: FarmHash's ``farmhashna::Hash64``, which
``tf.strings.to_hash_bucket_fast`` uses and whose values are fixed for good; SipHash-2-4 (Aumasson and Bernstein,
2012), which ``tf.strings.to_hash_bucket_strong`` uses.
"""

from __future__ import annotations

from collections.abc import Sequence

_MASK = 2**64 - 1
_K0 = 0xC3A5C85C97CB3127
_K1 = 0xB492B66FBE98F273
_K2 = 0x9AE16A3B2F90404F


def _word(data: bytes, start: int, size: int = 8) -> int:
    return int.from_bytes(data[start : start + size], "little")


def _rotate_right(value: int, shift: int) -> int:
    return ((value >> shift) | (value << (64 - shift))) & _MASK


def _rotate_left(value: int, shift: int) -> int:
    return _rotate_right(value, 64 - shift)


def _shift_mix(value: int) -> int:
    return value ^ (value >> 47)


def _mix(u: int, v: int, factor: int) -> int:
    a = _shift_mix((u ^ v) * factor & _MASK)
    b = _shift_mix((v ^ a) * factor & _MASK)
    return b * factor & _MASK


def _up_to_16(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    if size >= 8:
        a = (_word(data, 0) + _K2) & _MASK
        b = _word(data, size - 8)
        c = (_rotate_right(b, 37) * factor + a) & _MASK
        d = (_rotate_right(a, 25) + b) * factor & _MASK
        return _mix(c, d, factor)
    if size >= 4:
        return _mix((size + (_word(data, 0, 4) << 3)) & _MASK, _word(data, size - 4, 4), factor)
    if size:
        y = data[0] + (data[size >> 1] << 8)
        z = size + (data[size - 1] << 2)
        return _shift_mix((y * _K2 & _MASK) ^ (z * _K0 & _MASK)) * _K2 & _MASK
    return _K2


def _up_to_32(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a = _word(data, 0) * _K1 & _MASK
    b = _word(data, 8)
    c = _word(data, size - 8) * factor & _MASK
    d = _word(data, size - 16) * _K2 & _MASK
    first = (_rotate_right((a + b) & _MASK, 43) + _rotate_right(c, 30) + d) & _MASK
    second = (a + _rotate_right((b + _K2) & _MASK, 18) + c) & _MASK
    return _mix(first, second, factor)


def _up_to_64(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a = _word(data, 0) * _K2 & _MASK
    b = _word(data, 8)
    c = _word(data, size - 8) * factor & _MASK
    d = _word(data, size - 16) * _K2 & _MASK
    y = (_rotate_right((a + b) & _MASK, 43) + _rotate_right(c, 30) + d) & _MASK
    z = _mix(y, (a + _rotate_right((b + _K2) & _MASK, 18) + c) & _MASK, factor)
    e = _word(data, 16) * factor & _MASK
    f = _word(data, 24)
    g = (y + _word(data, size - 32)) * factor & _MASK
    h = (z + _word(data, size - 24)) * factor & _MASK
    first = (_rotate_right((e + f) & _MASK, 43) + _rotate_right(g, 30) + h) & _MASK
    second = (e + _rotate_right((f + a) & _MASK, 18) + g) & _MASK
    return _mix(first, second, factor)


def _weak_hash_32(data: bytes, start: int, a: int, b: int) -> tuple[int, int]:
    """Two sums over 32 bytes from ``start``."""
    w, x, y, z = (_word(data, start + offset) for offset in (0, 8, 16, 24))
    a = (a + w) & _MASK
    b = _rotate_right((b + a + z) & _MASK, 21)
    c = a
    a = (a + x + y) & _MASK
    b = (b + _rotate_right(a, 44)) & _MASK
    return (a + z) & _MASK, (b + c) & _MASK


def farmhash64(data: bytes) -> int:
    """FarmHash's fingerprint of ``data``.

    Examples
    --------
    >>> farmhash64(b"")
    11160318154034397263
    """
    size = len(data)
    if size <= 16:
        return _up_to_16(data)
    if size <= 32:
        return _up_to_32(data)
    if size <= 64:
        return _up_to_64(data)
    seed = 81
    x = (seed * _K2 + _word(data, 0)) & _MASK
    y = (seed * _K1 + 113) & _MASK
    z = _shift_mix((y * _K2 + 113) & _MASK) * _K2 & _MASK
    v, w = (0, 0), (0, 0)
    end = (size - 1) // 64 * 64
    for start in range(0, end, 64):
        x = _rotate_right((x + y + v[0] + _word(data, start + 8)) & _MASK, 37) * _K1 & _MASK
        y = _rotate_right((y + v[1] + _word(data, start + 48)) & _MASK, 42) * _K1 & _MASK
        x ^= w[1]
        y = (y + v[0] + _word(data, start + 40)) & _MASK
        z = _rotate_right((z + w[0]) & _MASK, 33) * _K1 & _MASK
        v = _weak_hash_32(data, start, v[1] * _K1 & _MASK, (x + w[0]) & _MASK)
        w = _weak_hash_32(data, start + 32, (z + w[1]) & _MASK, (y + _word(data, start + 16)) & _MASK)
        z, x = x, z
    factor = (_K1 + ((z & 0xFF) << 1)) & _MASK
    start = size - 64
    w = ((w[0] + ((size - 1) & 63)) & _MASK, w[1])
    v = ((v[0] + w[0]) & _MASK, v[1])
    w = ((w[0] + v[0]) & _MASK, w[1])
    x = _rotate_right((x + y + v[0] + _word(data, start + 8)) & _MASK, 37) * factor & _MASK
    y = _rotate_right((y + v[1] + _word(data, start + 48)) & _MASK, 42) * factor & _MASK
    x ^= w[1] * 9 & _MASK
    y = (y + v[0] * 9 + _word(data, start + 40)) & _MASK
    z = _rotate_right((z + w[0]) & _MASK, 33) * factor & _MASK
    v = _weak_hash_32(data, start, v[1] * factor & _MASK, (x + w[0]) & _MASK)
    w = _weak_hash_32(data, start + 32, (z + w[1]) & _MASK, (y + _word(data, start + 16)) & _MASK)
    z, x = x, z
    first = (_mix(v[0], w[0], factor) + _shift_mix(y) * _K0 + z) & _MASK
    return _mix(first, (_mix(v[1], w[1], factor) + x) & _MASK, factor)


def siphash(data: bytes, key: Sequence[int]) -> int:
    """SipHash-2-4 of ``data`` under a key of two 64-bit integers.

    Examples
    --------
    >>> hex(siphash(bytes(range(15)), (0x0706050403020100, 0x0F0E0D0C0B0A0908)))  # the paper's example
    '0xa129ca6149be45e5'
    """
    k0, k1 = (part & _MASK for part in key)
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rounds(count: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0 = (v0 + v1) & _MASK
            v2 = (v2 + v3) & _MASK
            v1 = _rotate_left(v1, 13) ^ v0
            v3 = _rotate_left(v3, 16) ^ v2
            v0 = _rotate_left(v0, 32)
            v2 = (v2 + v1) & _MASK
            v0 = (v0 + v3) & _MASK
            v1 = _rotate_left(v1, 17) ^ v2
            v3 = _rotate_left(v3, 21) ^ v0
            v2 = _rotate_left(v2, 32)

    whole = len(data) // 8 * 8
    last = _word(data, whole) | (len(data) & 0xFF) << 56
    for word in [*(_word(data, start) for start in range(0, whole, 8)), last]:
        v3 ^= word
        rounds(2)
        v0 ^= word
    v2 ^= 0xFF
    rounds(4)
    return v0 ^ v1 ^ v2 ^ v3
