# SPDX-License-Identifier: MIT
"""The indexes of chunks in newer HDF5 files, and the filters that chunks pass.

Source: "HDF5 File Format Specification Version 3.0", IV.A.2.i (layout version 4), VII.A and VII.C.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from unrolled.formats.checks import OBJECTS, BrokenError
from unrolled.formats.hdf5 import dense
from unrolled.formats.hdf5.messages import UNDEFINED, Layout
from unrolled.formats.hdf5.structures import Chunk, Read

DEFLATE, SHUFFLE, FLETCHER32, LZF = 1, 2, 3, 32000
KNOWN_FILTERS = (DEFLATE, SHUFFLE, FLETCHER32, LZF)

_SINGLE, _IMPLICIT, _FIXED_ARRAY, _EXTENSIBLE_ARRAY, _B_TREE = 1, 2, 3, 4, 5


def indexed_chunks(
    read: Read, layout: Layout, counts: list[int], extent: int, filtered: bool
) -> Iterator[Chunk]:
    """The stored chunks of a dataset of layout version 4.

    Parameters
    ----------
    read : callable
        Reads bytes of the file.
    layout : Layout
        With the kind of index.
    counts : list of int
        How many chunks there are along each axis.
    extent : int
        Bytes of a chunk without filters.
    filtered : bool
        Whether chunks have sizes of their own.
    """
    if layout.address == UNDEFINED:
        return
    if layout.index == _SINGLE:
        yield Chunk((0,) * len(counts), layout.address, layout.size if filtered else extent, layout.mask)
        return
    places = np.ndindex(*counts)
    if layout.index == _IMPLICIT:
        for number, place in enumerate(places):
            yield Chunk(_offset(place, layout), layout.address + number * extent, extent, 0)
    elif layout.index == _FIXED_ARRAY:
        for place, (address, size, mask) in zip(
            places, _fixed_array(read, layout.address, extent), strict=False
        ):
            if address != UNDEFINED:
                yield Chunk(_offset(place, layout), address, size, mask)
    elif layout.index == _B_TREE:
        rank = len(counts)
        kind = dense.FILTERED_CHUNKS if filtered else dense.CHUNKS
        for record in dense.records(read, layout.address, kind):
            address = int.from_bytes(record[:8], "little")
            size, mask = extent, 0
            start = len(record) - 8 * rank
            if filtered:
                size = int.from_bytes(record[8 : start - 4], "little")
                mask = int.from_bytes(record[start - 4 : start], "little")
            if start < 8:
                raise BrokenError("a record of a chunk that is too short")
            scaled = struct.unpack(f"<{rank}Q", record[start:])
            yield Chunk(_offset(scaled, layout), address, size, mask)
    else:
        raise BrokenError(
            "chunks of a dataset that can grow without end, indexed as Keras's files never are; "
            'load_model(..., hdf5="h5py") reads it where h5py is installed'
        )


def _offset(place: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    return tuple(number * step for number, step in zip(place, layout.chunk, strict=True))


def _fixed_array(read: Read, address: int, extent: int) -> Iterator[tuple[int, int, int]]:
    """Address, size and filter mask of every chunk in order (VII.C)."""
    mark, _, client, entry, page_bits, count, block = struct.unpack("<4sBBBBQQ", read(address, 24))
    if mark != b"FAHD" or client not in (0, 1) or (entry < 13 if client else entry != 8) or page_bits > 30:
        raise BrokenError("an array of chunks of unknown form")
    if block == UNDEFINED:
        return
    if count > OBJECTS or read(block, 4) != b"FADB":
        raise BrokenError("an array of chunks that is none, or too long")
    page = 1 << page_bits
    position = block + 14
    paged = count > page
    if paged:
        pages = -(-count // page)
        bits = read(position, (pages + 7) // 8)
        position += len(bits) + 4
    for start in range(0, count, page):
        length = min(page, count - start)
        number = start // page
        used = not paged or bits[number // 8] >> (7 - number % 8) & 1
        data = read(position, length * entry) if used else b""
        position += length * entry + (4 if paged else 0)
        for index in range(length):
            element = data[index * entry : (index + 1) * entry]
            if not element:
                yield UNDEFINED, 0, 0
            elif client:
                size = int.from_bytes(element[8 : entry - 4], "little")
                yield (
                    int.from_bytes(element[:8], "little"),
                    size,
                    int.from_bytes(element[entry - 4 :], "little"),
                )
            else:
                yield int.from_bytes(element, "little"), extent, 0


# --------------------------------------------------------------------- filters


def unfilter(code: int, data: bytes, limit: int, itemsize: int) -> bytes:
    """Undo one filter; nothing grows beyond ``limit`` bytes."""
    if code == DEFLATE:
        return zlib.decompressobj().decompress(data, limit)
    if code == LZF:
        return _lzf(data, limit)
    if code == FLETCHER32:
        return _checked(data)
    planes = np.frombuffer(data, dtype=np.uint8)
    whole = len(planes) // itemsize * itemsize
    return planes[:whole].reshape(itemsize, -1).T.tobytes() + data[whole:]


def _checked(data: bytes) -> bytes:
    """Data whose last 4 bytes are their Fletcher checksum, of big-endian words (H5checksum.c)."""
    content, stored = data[:-4], int.from_bytes(data[-4:], "little")
    words = np.frombuffer(content + b"\0" * (len(content) % 2), dtype=">u2").astype(np.int64)
    first = second = 0
    for start in range(0, len(words), 1 << 16):
        part = words[start : start + (1 << 16)]
        second += len(part) * first + int((part * np.arange(len(part), 0, -1)).sum())
        first += int(part.sum())
    if len(data) < 4 or (first - (stored & 0xFFFF)) % 65535 or (second - (stored >> 16)) % 65535:
        raise BrokenError("a chunk whose checksum is wrong: the file is damaged")
    return content


def _lzf(data: bytes, limit: int) -> bytes:
    """LibLZF, the filter that h5py brings: runs of new bytes, and copies of earlier ones."""
    result = bytearray()
    position = 0
    while position < len(data):
        control = data[position]
        position += 1
        if control < 32:
            result += data[position : position + control + 1]
            position += control + 1
        else:
            length = control >> 5
            if position + (2 if length == 7 else 1) > len(data):
                raise BrokenError("compressed data that end early")
            if length == 7:
                length += data[position]
                position += 1
            distance = ((control & 0x1F) << 8 | data[position]) + 1
            position += 1
            start = len(result) - distance
            if start < 0:
                raise BrokenError("compressed data that refer to what is not there")
            length += 2
            piece = result[start : start + length]
            result += (piece * (-(-length // max(len(piece), 1))))[:length]
        if len(result) > limit:
            break
    return bytes(result[:limit])
