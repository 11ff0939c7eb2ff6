# SPDX-License-Identifier: MIT
"""Messages of HDF5's object headers: links, shapes, types, layouts and filters.

Source: "HDF5 File Format Specification Version 3.0"; section numbers below are its own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from unrolled.formats.checks import BrokenError

UNDEFINED = (1 << 64) - 1
# The arrays of a file share few types and shapes: each is decoded once, while few others come between.
_KEPT = 64


@dataclass(frozen=True, slots=True)
class Datatype:
    """An element type: ``dtype`` of numbers, or a string type.

    Parameters
    ----------
    kind : {"number", "bfloat16", "string", "text"}
        "string" is of fixed length, "text" lies in a global heap.
    size : int
        Bytes of an element.
    dtype : numpy.dtype, optional
        Of numbers.
    """

    kind: str
    size: int
    dtype: np.dtype[Any] | None = None


@dataclass(slots=True)
class Layout:
    """Where a dataset's bytes are: ``data`` (compact), ``address`` and ``size``, or a tree of chunks."""

    kind: str
    address: int = UNDEFINED
    size: int = 0
    data: bytes = b""
    chunk: tuple[int, ...] = ()
    # Of layout version 4: the kind of index of the chunks (0: a version 1 B-tree), and of a single chunk its mask.
    index: int = 0
    mask: int = 0


def unpack(form: str, data: bytes) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, data)
    except struct.error:
        raise BrokenError("a message that is too short") from None


def link(data: bytes) -> tuple[str, int | None]:
    """A link message (IV.A.2.g): name, and the address of a hard link."""
    _, flags = unpack("<BB", data)
    position = 2
    kind = 0
    if flags & 8:
        kind = data[position]
        position += 1
    position += 8 * (flags >> 2 & 1) + (flags >> 4 & 1)
    width = 1 << (flags & 3)
    length = int.from_bytes(data[position : position + width], "little")
    position += width
    name = data[position : position + length]
    if len(name) < length:
        raise BrokenError("a link's name that runs out of its message")
    address = unpack("<Q", data[position + length :])[0] if kind == 0 else None
    return name.decode("utf-8", "surrogateescape"), address


@lru_cache(maxsize=_KEPT)
def dataspace(data: bytes) -> tuple[int, ...]:
    """The shape of a dataspace message (IV.A.2.b); a null space is (0,)."""
    version, rank, _ = unpack("<BBB", data)
    if version not in (1, 2) or rank > 32:
        raise BrokenError("a dataspace of unknown form")
    if version == 2 and data[3:4] == b"\x02":
        return (0,)
    start = 8 if version == 1 else 4
    return tuple(unpack(f"<{rank}Q", data[start:]))


# Exponent position and size, mantissa position and size, exponent bias (IV.A.2.d, class 1).
_FLOATS = {
    2: (10, 5, 0, 10, 15),
    4: (23, 8, 0, 23, 127),
    8: (52, 11, 0, 52, 1023),
}
_BFLOAT16 = (7, 8, 0, 7, 127)


@lru_cache(maxsize=_KEPT)
def datatype(data: bytes) -> Datatype:
    """A datatype message (IV.A.2.d): numbers, booleans, opaque pairs of bytes and strings."""
    kind = data[0] & 0xF
    bits = int.from_bytes(data[1:4], "little")
    size = unpack("<I", data[4:])[0]
    order = ">" if bits & 1 else "<"
    if kind == 0:
        offset, precision = unpack("<HH", data[8:])
        if size not in (1, 2, 4, 8) or offset or precision != 8 * size:
            raise BrokenError("integers of unknown form")
        return Datatype("number", size, np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}"))
    if kind == 1:
        fields = struct.unpack("<BBBBI", data[12:20]) if len(data) >= 20 else ()
        if size == 2 and fields == _BFLOAT16 and order == "<":
            return Datatype("bfloat16", size)
        if fields != _FLOATS.get(size) or bits & 0x40:
            raise BrokenError("floating-point numbers of unknown form")
        return Datatype("number", size, np.dtype(f"{order}f{size}"))
    if kind == 3:
        return Datatype("string", size)
    if kind == 5 and size == 2:
        # Keras 3 stores bfloat16 as opaque |V2, and nothing else that way.
        return Datatype("bfloat16", size)
    if kind == 8 and size == 1:
        return Datatype("number", size, np.dtype("u1"))
    if kind == 9 and bits & 0xF == 1 and size == 16:
        return Datatype("text", size)
    raise BrokenError("values that are neither numbers nor text")


def layout(data: bytes) -> Layout:
    """A layout message (IV.A.2.i, versions 3 and 4; 5, of HDF5 2.0, is 4 with room for larger chunks)."""
    version, kind = unpack("<BB", data)
    if version not in (3, 4, 5) or kind not in (0, 1, 2):
        raise BrokenError("data laid out as Keras never does (virtual, or of a newer format)")
    if kind == 0:
        size = unpack("<H", data[2:])[0]
        return Layout("compact", size=size, data=data[4 : 4 + size])
    if kind == 1:
        address, size = unpack("<QQ", data[2:])
        return Layout("contiguous", address, size)
    if version >= 4:
        return _newer_chunks(data)
    rank = data[2] - 1
    address, *chunk = unpack(f"<Q{rank + 1}I", data[3:])
    return Layout("chunked", address, chunk=tuple(chunk[:rank]))


def _newer_chunks(data: bytes) -> Layout:
    """Chunks of layout versions 4 and 5. The last size is that of an element."""
    flags, rank, width = unpack("<BBB", data[2:])
    if not 1 <= rank <= 33 or not 1 <= width <= 8 or flags & 1:
        raise BrokenError("chunks of unknown form")
    position = 5 + rank * width
    sizes = [
        int.from_bytes(data[5 + axis * width : 5 + (axis + 1) * width], "little") for axis in range(rank)
    ]
    index = unpack("<B", data[position:])[0]
    position += 1
    size = mask = 0
    if index == 1 and flags & 2:
        size, mask = unpack("<QI", data[position:])
        position += 12
    else:
        # What the other indexes say of themselves stands in them again.
        position += {1: 0, 2: 0, 3: 1, 4: 5, 5: 6}.get(index, 0)
    address = unpack("<Q", data[position:])[0]
    return Layout("chunked", address, size, chunk=tuple(sizes[:-1]), index=index, mask=mask)


def filters(data: bytes) -> list[int]:
    """Filter numbers of a filter pipeline message (IV.A.2.l)."""
    version, count = unpack("<BB", data)
    position = 8 if version == 1 else 2
    found = []
    for _ in range(count):
        number = unpack("<H", data[position:])[0]
        if version == 1 or number >= 256:
            _, name_length, _, values = unpack("<HHHH", data[position:])
            position += 8
        else:
            _, _, values = unpack("<HHH", data[position:])
            name_length = 0
            position += 6
        position += (name_length + 7) // 8 * 8 if version == 1 else name_length
        position += 4 * values + (4 if version == 1 and values % 2 else 0)
        found.append(number)
    return found
