# SPDX-License-Identifier: MIT
"""Where newer HDF5 files keep many links or attributes: records in a version 2 B-tree, objects in a fractal heap.

Source: "HDF5 File Format Specification Version 3.0", III.A.2 and III.G. The checksums of these structures are
not verified: every address and size is checked instead, as everywhere.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from unrolled.formats.checks import OBJECTS, BrokenError

Read = Callable[[int, int], bytes]

LINKS, ATTRIBUTES, HUGE, CHUNKS, FILTERED_CHUNKS = 5, 8, 1, 10, 11
_UNDEFINED = (1 << 64) - 1


def records(read: Read, address: int, kind: int) -> Iterator[bytes]:
    """The records of a version 2 B-tree (III.A.2)."""
    mark, version, found, node_size, size, depth, _, _, root, count, _ = struct.unpack(
        "<4sBBIHHBBQHQ", read(address, 34)
    )
    if mark != b"BTHD" or version != 0 or found != kind or size == 0 or depth > 16 or node_size < 64:
        raise BrokenError("a version 2 B-tree of unknown form")
    if root == _UNDEFINED:
        return
    most = [(node_size - 10) // size]
    widths = [0]
    total = most[0]
    width = _bytes_of(most[0])
    for _ in range(depth):
        pointer = 8 + width + widths[-1]
        most.append((node_size - 10 - pointer) // (size + pointer))
        total = (most[-1] + 1) * total + most[-1]
        widths.append(_bytes_of(total))
    yield from _node(read, root, count, depth, kind, size, width, widths, [0])


def _node(
    read: Read, address: int, count: int, depth: int, kind: int, size: int, width: int, widths: list[int],
    seen: list[int],
) -> Iterator[bytes]:  # fmt: skip
    seen[0] += 1
    if seen[0] > OBJECTS:
        raise BrokenError("a B-tree that leads back into itself")
    mark = b"BTLF" if depth == 0 else b"BTIN"
    head = read(address, 6)
    if head[:4] != mark or head[5] != kind:
        raise BrokenError("a node of a version 2 B-tree that is none")
    data = read(address + 6, count * size)
    for number in range(count):
        yield data[number * size : (number + 1) * size]
    if depth == 0:
        return
    step = 8 + width + (widths[depth - 1] if depth > 1 else 0)
    pointers = read(address + 6 + count * size, (count + 1) * step)
    for number in range(count + 1):
        pointer = pointers[number * step : (number + 1) * step]
        child = int.from_bytes(pointer[:8], "little")
        inner = int.from_bytes(pointer[8 : 8 + width], "little")
        yield from _node(read, child, inner, depth - 1, kind, size, width, widths, seen)


def _bytes_of(value: int) -> int:
    """How many bytes a number of at most ``value`` is stored in."""
    return (max(value, 1).bit_length() - 1) // 8 + 1


class FractalHeap:
    """Objects by their ids (III.G).

    Parameters
    ----------
    read : callable
        ``read(address, size)``: bytes of the file, raising ``BrokenError`` outside it.
    address : int
        Of the heap's header.
    """

    def __init__(self, read: Read, address: int) -> None:
        self._read = read
        head = read(address, 144)
        if head[:4] != b"FRHP" or head[4] != 0:
            raise BrokenError("a fractal heap of unknown form")
        self.id_size, filters = struct.unpack_from("<HH", head, 5)
        self._largest = struct.unpack_from("<I", head, 10)[0]
        self._huge = struct.unpack_from("<Q", head, 22)[0]
        self._width, self._start, self._largest_block, bits = struct.unpack_from("<HQQH", head, 110)
        self._root, self._rows = struct.unpack_from("<QH", head, 132)
        if filters:
            raise BrokenError("a fractal heap with filters")
        powers = all(
            size and size & (size - 1) == 0 for size in (self._start, self._largest_block, self._width)
        )
        if not powers or self._start > self._largest_block or bits > 64:
            raise BrokenError("a fractal heap of unknown form")
        self._offset_size = (bits + 7) // 8
        block_offset = (self._largest_block.bit_length() - 1 + 7) // 8
        self._length_size = min(block_offset, _bytes_of(self._largest))

    def object(self, identity: bytes) -> bytes:
        """The object of an id."""
        if not identity or identity[0] >> 6:
            raise BrokenError("an object of a fractal heap of unknown form")
        kind = identity[0] >> 4 & 3
        if kind == 2:
            length = (identity[0] & 0xF) + 1
            if self.id_size > 18:
                length = ((identity[0] & 0xF) << 8 | identity[1]) + 1
                return identity[2 : 2 + length]
            return identity[1 : 1 + length]
        if kind == 1:
            return self._huge_object(identity)
        offset = int.from_bytes(identity[1 : 1 + self._offset_size], "little")
        start = 1 + self._offset_size
        length = int.from_bytes(identity[start : start + self._length_size], "little")
        if self._rows == 0:
            if offset + length > self._start:
                raise BrokenError("an object outside its fractal heap")
            return self._read(self._root + offset, length)
        return self._managed(self._root, self._rows, offset, length, 0)

    def _huge_object(self, identity: bytes) -> bytes:
        key = int.from_bytes(identity[1:9], "little")
        for record in records(self._read, self._huge, HUGE):
            address, length, found = struct.unpack_from("<QQQ", record)
            if found == key:
                return self._read(address, length)
        raise BrokenError("a reference to an object that its fractal heap lacks")

    def _managed(self, block: int, rows: int, offset: int, length: int, depth: int) -> bytes:
        """An object below an indirect block; ``offset`` counts from where the block begins."""
        if depth > 8 or rows > 64 or self._read(block, 4) != b"FHIB":
            raise BrokenError("a block of a fractal heap that is none")
        unit = self._start * self._width
        row = 0 if offset < unit else (offset // unit).bit_length()
        if row >= rows:
            raise BrokenError("an object outside its fractal heap")
        size = self._start if row == 0 else self._start << (row - 1)
        inside = offset - (0 if row == 0 else unit << (row - 1))
        column, inside = divmod(inside, size)
        entry = block + 13 + self._offset_size + 8 * (row * self._width + column)
        child = int.from_bytes(self._read(entry, 8), "little")
        if size <= self._largest_block:
            if inside + length > size:
                raise BrokenError("an object outside its block")
            return self._read(child + inside, length)
        inner_rows = size.bit_length() - unit.bit_length() + 1
        return self._managed(child, inner_rows, inside, length, depth + 1)
