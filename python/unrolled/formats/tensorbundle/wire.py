# SPDX-License-Identifier: MIT
"""The wire format of Protocol Buffers, read as far as a reader of a few named fields needs it.

Source: protobuf.dev, "Encoding". A key is ``number << 3 | type``; groups (types 3 and 4) do not occur in the
messages read here and are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from unrolled.formats.checks import BrokenError

# Fields of one file: those of sound files are far fewer, and each takes a microsecond to pass.
FIELDS = 1_000_000
# The same of those that are looked for in a file by seeking, which takes longer.
FILE_FIELDS = 50_000

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Budget:
    """How many fields may still be read of a file, so that a file of empty fields cannot take minutes."""

    def __init__(self, fields: int = FIELDS) -> None:
        self._fields = fields
        self._left = fields

    def spend(self) -> None:
        """Count one field; ``BrokenError`` beyond the limit."""
        self._left -= 1
        if self._left < 0:
            raise BrokenError(f"more than {self._fields} fields")


def varint(data: memoryview | bytes, position: int) -> tuple[int, int]:
    """The number at ``position``, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise BrokenError("a number that runs out of its message")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1, position
    raise BrokenError("a number of more than 10 bytes")


def fields(data: memoryview | bytes, budget: Budget) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message as (number, value): a number, or the bytes of a text or message.

    Raises
    ------
    BrokenError
        The message is cut, or of another format.
    """
    view = memoryview(data)
    position = 0
    while position < len(view):
        budget.spend()
        key, position = varint(view, position)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise BrokenError("a field without a number")
        if kind == VARINT:
            value, position = varint(view, position)
            yield number, value
            continue
        if kind == BYTES:
            size, position = varint(view, position)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise BrokenError(f"a field of the unknown type {kind}")
        if size > len(view) - position:
            raise BrokenError("a field that runs out of its message")
        found = view[position : position + size]
        position += size
        yield number, found if kind == BYTES else int.from_bytes(found, "little")


def file_fields(file: BinaryIO, start: int, end: int, budget: Budget) -> Iterator[tuple[int, int, int]]:
    """The fields of a message that lies in a file, as (number, start, size) of those that are bytes.

    Nothing but keys and sizes is read, so that a graph of a gigabyte costs nothing.
    """
    position = start
    while position < end:
        budget.spend()
        file.seek(position)
        head = file.read(min(20, end - position))
        key, used = varint(head, 0)
        number, kind = key >> 3, key & 7
        size = 0
        if kind == VARINT:
            _, used = varint(head, used)
        elif kind == BYTES:
            size, used = varint(head, used)
        elif kind in (FIXED32, FIXED64):
            used += 4 if kind == FIXED32 else 8
        if number == 0 or kind not in (VARINT, FIXED64, BYTES, FIXED32):
            raise BrokenError("a field of unknown type")
        if size > end - position - used or used > end - position:
            raise BrokenError("a field that runs out of its message")
        if kind == BYTES:
            yield number, position + used, size
        position += used + size


def number(value: int | memoryview) -> int:
    """A field's value that must be a number."""
    if not isinstance(value, int):
        raise BrokenError("expected a number, got bytes")
    return value


def message(value: int | bytes | memoryview) -> bytes | memoryview:
    """A field's value that must be bytes."""
    if isinstance(value, int):
        raise BrokenError("expected bytes, got a number")
    return value


def text(value: int | bytes | memoryview) -> str:
    """A field's value that must be text."""
    return bytes(message(value)).decode("utf-8", "surrogateescape")


def signed(value: int | memoryview) -> int:
    """A number field of a signed type."""
    found = number(value)
    return found - (1 << 64) if found >= 1 << 63 else found
