# SPDX-License-Identifier: MIT
"""The sorted table of keys and values that a checkpoint's `.index` file is.

Format: LevelDB's table, TensorFlow's own copy (tensorflow/core/lib/io/table.cc, format.cc, block.cc). The last
48 bytes name the index block, whose values name the data blocks. Keys leave out what they share with the one
before.
"""

from __future__ import annotations

from collections.abc import Iterator

from unrolled.formats.checks import EXPANSION, OBJECTS, SLACK, BrokenError
from unrolled.formats.tensorbundle.crc32c import masked_crc32c
from unrolled.formats.tensorbundle.wire import varint

MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
FOOTER = 48
_TRAILER = 5
_KEY_BYTES = 4096


def read_table(data: bytes) -> dict[bytes, bytes]:
    """All keys and values.

    Raises
    ------
    BrokenError
        No such table, damaged (every block has a checksum), or with more keys than the file can hold.
    """
    if len(data) < FOOTER or data[-8:] != MAGIC:
        raise BrokenError("not the index of a TensorFlow checkpoint")
    footer = data[-FOOTER:-8]
    _, _, position = _handle(footer, 0)
    offset, size, _ = _handle(footer, position)
    found: dict[bytes, bytes] = {}
    last = b""
    left = EXPANSION * len(data) + SLACK
    for _, handle in _entries(_block(data, offset, size), len(data)):
        offset, size, _ = _handle(handle, 0)
        for key, value in _entries(_block(data, offset, size), len(data)):
            left -= len(key) + len(value)
            if left < 0 or len(found) >= OBJECTS:
                raise BrokenError(f"more keys than an index of {len(data)} bytes can hold")
            if found and key <= last:
                raise BrokenError("keys that are not in order, or occur twice")
            found[key] = value
            last = key
    return found


def _handle(data: bytes, position: int) -> tuple[int, int, int]:
    """Offset and size of a block, and where the handle ends."""
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return offset, size, position


def _block(data: bytes, offset: int, size: int) -> bytes:
    """The contents of a block; its trailer is a type and a checksum over contents and type."""
    end = offset + size
    if end + _TRAILER > len(data) - FOOTER:
        raise BrokenError("a block that lies outside the file")
    if data[end] != 0:
        raise BrokenError("a compressed block, which TensorFlow never writes into checkpoints")
    stored = int.from_bytes(data[end + 1 : end + _TRAILER], "little")
    if masked_crc32c(data[offset : end + 1]) != stored:
        raise BrokenError("a block whose checksum is wrong: the file is damaged")
    return data[offset:end]


def _entries(block: bytes, limit: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block."""
    if len(block) < 4:
        raise BrokenError("a block that is too short")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise BrokenError("a block with more restarts than it can hold")
    key = b""
    position = 0
    while position < end:
        shared, position = varint(block, position)
        unshared, position = varint(block, position)
        size, position = varint(block, position)
        if shared > len(key) or unshared > end - position or size > end - position - unshared:
            raise BrokenError("an entry that runs out of its block")
        if shared + unshared > min(_KEY_BYTES, limit):
            raise BrokenError(f"a key of {shared + unshared} bytes (at most {_KEY_BYTES})")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + size]
        position += size
