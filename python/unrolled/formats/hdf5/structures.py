# SPDX-License-Identifier: MIT
"""The part of the HDF5 file format that Keras's files use, read with every size and address checked.

Why not the HDF5 library: it is C, and on broken files it hangs or crashes (measured: one flipped bit in a
global heap hangs HDF5 2.0 for ever). Keras writes through h5py, which asked for the earliest format up to HDF5
1.14: superblock 0, object headers 1, groups as symbol tables, contiguous data. HDF5 2.0, h5repack and other
tools write superblock 2 or 3, object headers 2, links and attributes in heaps (``dense``), and chunks with
filters (``chunks``). What none of them writes into files of this kind is refused.

Source: "HDF5 File Format Specification Version 3.0"; section numbers below are its own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from unrolled.formats.archive import open_content, size_of
from unrolled.formats.checks import OBJECTS, BrokenError
from unrolled.formats.hdf5.dense import ATTRIBUTES, LINKS, FractalHeap, records
from unrolled.formats.hdf5.messages import UNDEFINED, Datatype, Layout, dataspace, datatype, link, unpack

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# A user block before an HDF5 file has a size of 512 bytes times a power of two (format specification, II.A).
_USER_BLOCKS = tuple(512 << step for step in range(12))

# Message types (IV.A.2).
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL_FILES, LAYOUT, FILTERS, ATTRIBUTE, CONTINUATION, GROUP = (
    0x1, 0x2, 0x3, 0x6, 0x7, 0x8, 0xB, 0xC, 0x10, 0x11,
)  # fmt: skip
ATTRIBUTE_INFO = 0x15

# Names may share their bytes in the file, so their length is bounded, not only their place.
_NAME_BYTES = 4096
Read = Callable[[int, int], bytes]


def hdf5_offset(content: Path | bytes, start: bytes = b"") -> int | None:
    """Where an HDF5 file begins in its file: behind a user block, if there is one."""
    if start.startswith(SIGNATURE):
        return 0
    size = size_of(content)
    with open_content(content) as file:
        for offset in (0, *_USER_BLOCKS):
            if offset + len(SIGNATURE) > size:
                break
            file.seek(offset)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return offset
    return None


@dataclass(slots=True)
class Header:
    """An object header: its messages as (type, data)."""

    messages: list[tuple[int, bytes]]

    def find(self, kind: int) -> bytes | None:
        """The first message of a type."""
        for found, data in self.messages:
            if found == kind:
                return data
        return None


@dataclass(frozen=True)
class Chunk:
    """A stored chunk: its place in the array and in the file."""

    offset: tuple[int, ...]
    address: int
    size: int
    mask: int


@dataclass
class Structures:
    """Decoder of structures over a function that reads checked ranges of the file.

    Parameters
    ----------
    read : callable
        ``read(address, size)``: bytes of the file, raising ``BrokenError`` outside it.
    """

    read: Callable[[int, int], bytes]
    _last: tuple[int, Header] | None = None
    _seen: set[int] = field(default_factory=set)
    _heaps: dict[int, dict[int, tuple[int, int]]] = field(default_factory=dict)
    _dense_messages: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)

    def root(self) -> int:
        """The address of the root group's header (II.A, superblock)."""
        start = self.read(0, 16)
        if not start.startswith(SIGNATURE):
            raise BrokenError("no HDF5 signature")
        version = start[8]
        if version in (2, 3):
            if start[9] != 8 or start[10] != 8:
                raise BrokenError("addresses or lengths that are not of 8 bytes")
            return int(unpack("<Q", self.read(36, 8))[0])
        if version not in (0, 1):
            raise BrokenError(
                f"HDF5 superblock version {version}, which Keras never writes; copy the file with h5py's defaults"
            )
        if start[13] != 8 or start[14] != 8:
            raise BrokenError("addresses or lengths that are not of 8 bytes")
        addresses = 24 if version == 0 else 28
        # Addresses count from the signature, wherever that is in the file: the library ignores the base address.
        _, _, _, _, _, root = struct.unpack("<6Q", self.read(addresses, 48))
        return int(root)

    # ---------------------------------------------------------------- headers

    def header(self, address: int) -> Header:
        """The object header at an address (IV.A.1.a, version 1)."""
        # One object is asked for several things at a time. All headers of a file, kept, would be more objects
        # than the model has, which the garbage collector looks through again and again.
        if self._last is not None and self._last[0] == address:
            return self._last[1]
        self._seen.add(address)
        if len(self._seen) > OBJECTS:
            raise BrokenError(f"more than {OBJECTS} objects")
        header = self._read_header(address)
        self._last = address, header
        return header

    def _read_header(self, address: int) -> Header:
        prefix = self.read(address, 12)  # no header is shorter
        if prefix.startswith(b"OHDR"):
            return self._newer_header(address)
        version, _, count, _, size = struct.unpack("<BBHII", prefix)
        if version != 1:
            raise BrokenError("an object header of a version that Keras never writes")
        header = Header([])
        blocks = [(address + 16, size)]
        seen = set()
        while blocks and len(header.messages) < count:
            start, length = blocks.pop(0)
            if start in seen:
                raise BrokenError("an object header that continues in itself")
            seen.add(start)
            block = self.read(start, length)
            position = 0
            while position + 8 <= length and len(header.messages) < count:
                kind, extent, flags = struct.unpack_from("<HHB", block, position)
                data = block[position + 8 : position + 8 + extent]
                if len(data) < extent:
                    raise BrokenError("a message that runs out of its object header")
                position += 8 + extent
                if flags & 2 and kind in (DATASPACE, DATATYPE, LAYOUT, FILTERS, ATTRIBUTE):
                    raise BrokenError("a shared message, which Keras never writes")
                header.messages.append((kind, data))
                if kind == CONTINUATION:
                    where, extent = unpack("<QQ", data)
                    blocks.append((where, extent))
        if len(header.messages) < count:
            raise BrokenError("an object header with fewer messages than it says")
        return header

    def _newer_header(self, address: int) -> Header:
        """An object header of version 2 (IV.A.1.b)."""
        _, version, flags = struct.unpack("<4sBB", self.read(address, 6))
        if version != 2:
            raise BrokenError("an object header of unknown version")
        position = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        size = int.from_bytes(self.read(position, width), "little")
        header = Header([])
        blocks = [(position + width, size)]
        seen = set()
        head = 6 if flags & 4 else 4
        while blocks:
            start, length = blocks.pop(0)
            if start in seen:
                raise BrokenError("an object header that continues in itself")
            seen.add(start)
            block = self.read(start, length)
            position = 0
            while position + head <= length:
                kind, extent, marks = struct.unpack_from("<BHB", block, position)
                position += head
                data = block[position : position + extent]
                if len(data) < extent:
                    raise BrokenError("a message that runs out of its object header")
                position += extent
                if marks & 2 and kind in (DATASPACE, DATATYPE, LAYOUT, FILTERS, ATTRIBUTE):
                    raise BrokenError("a shared message, which Keras never writes")
                header.messages.append((kind, data))
                if len(header.messages) > OBJECTS:
                    raise BrokenError(f"more than {OBJECTS} messages")
                if kind == CONTINUATION:
                    where, extent = unpack("<QQ", data)
                    if extent < 8 or self.read(where, 4) != b"OCHK":
                        raise BrokenError("an object header that continues where there is none")
                    blocks.append((where + 4, extent - 8))
        return header

    # ----------------------------------------------------------------- groups

    def links(self, header: Header) -> dict[str, int | None] | None:
        """Members of a group: name to header address, ``None`` for soft and external links.

        ``None`` altogether where the object is no group.
        """
        table = header.find(GROUP)
        info = header.find(LINK_INFO)
        if table is None and info is None:
            return None
        members: dict[str, int | None] = {}
        if table is not None:
            tree, heap = unpack("<QQ", table)
            for name, address in self._symbols(tree, heap):
                _add(members, name, address)
        if info is not None:
            for data in self._dense(info, 8, LINKS):
                _add(members, *link(data))
            for kind, data in header.messages:
                if kind == LINK:
                    _add(members, *link(data))
        return members

    def attributes(self, header: Header) -> list[bytes]:
        """The attribute messages of an object, those in a heap too."""
        found = [data for kind, data in header.messages if kind == ATTRIBUTE]
        info = header.find(ATTRIBUTE_INFO)
        return found if info is None else found + list(self._dense(info, 2, ATTRIBUTES))

    def _dense(self, info: bytes, counter: int, kind: int) -> Iterator[bytes]:
        """Messages that an info message (IV.A.2.c, IV.A.2.v) says are in a heap; none where they are not."""
        position = 2 + (counter if info[1] & 1 else 0)
        heap_at, tree = unpack("<QQ", info[position:])
        if heap_at == UNDEFINED:
            return
        if (heap_at, tree) not in self._dense_messages:
            heap = FractalHeap(self.read, heap_at)
            found = []
            for record in records(self.read, tree, kind):
                # The id stands behind the hash of a link's name, and first of an attribute.
                found.append(heap.object(record[4:11] if kind == LINKS else record[:8]))
                if len(found) > OBJECTS:
                    raise BrokenError(f"more than {OBJECTS} links or attributes")
            self._dense_messages[heap_at, tree] = found
        yield from self._dense_messages[heap_at, tree]

    def _symbols(self, tree: int, heap: int) -> Iterator[tuple[str, int | None]]:
        """Entries of a symbol table (III.A.1, III.B, III.C, III.D)."""
        mark, _, size, _, names_at = struct.unpack("<4s4sQQQ", self.read(heap, 32))
        if mark != b"HEAP":
            raise BrokenError("a local heap without its mark")
        names = self.read(names_at, size)
        for node in self._tree_leaves(tree, kind=0, key_size=8):
            for leaf in node:
                mark, _, _, count = struct.unpack("<4sBBH", self.read(leaf[1], 8))
                if mark != b"SNOD":
                    raise BrokenError("a symbol table node without its mark")
                entries = self.read(leaf[1] + 8, 40 * count)
                for number in range(count):
                    offset, address, cache = struct.unpack_from("<QQI", entries, 40 * number)
                    end = names.find(b"\0", offset)
                    if offset >= len(names) or end < 0 or end - offset > _NAME_BYTES:
                        raise BrokenError("a name outside its heap, or too long")
                    yield (
                        names[offset:end].decode("utf-8", "surrogateescape"),
                        None if cache == 2 else address,
                    )

    def _tree_leaves(self, address: int, kind: int, key_size: int) -> Iterator[list[tuple[bytes, int]]]:
        """Leaf nodes of a version 1 B-tree (III.A.1) as lists of (key, child address)."""
        waiting = [(address, -1)]
        seen: set[int] = set()
        while waiting:
            node, expected = waiting.pop()
            if node in seen or len(seen) > OBJECTS:
                raise BrokenError("a B-tree that leads back into itself")
            seen.add(node)
            mark, found, level, used = struct.unpack("<4sBBH", self.read(node, 8))
            if mark != b"TREE" or found != kind or (expected >= 0 and level != expected) or level > 32:
                raise BrokenError("a B-tree node that is none, or of the wrong level")
            step = key_size + 8
            data = self.read(node + 24, used * step)
            entries = [
                (
                    data[number * step : number * step + key_size],
                    int.from_bytes(data[number * step + key_size : (number + 1) * step], "little"),
                )
                for number in range(used)
            ]
            if level == 0:
                yield entries
            else:
                waiting += [(child, level - 1) for _, child in reversed(entries)]

    # ------------------------------------------------------------- attributes

    def attribute(self, data: bytes) -> tuple[str, Callable[[], tuple[Datatype, tuple[int, ...], bytes]]]:
        """An attribute message (IV.A.2.m): its name, and a function that gives type, shape and bytes."""
        version = data[0]
        if version not in (1, 2, 3) or (version > 1 and data[1]):
            raise BrokenError("an attribute of unknown form")
        name_size, type_size, space_size = unpack("<HHH", data[2:])
        position = 8 if version < 3 else 9
        parts = []
        for size in (name_size, type_size, space_size):
            parts.append(data[position : position + size])
            if len(parts[-1]) < size:
                raise BrokenError("an attribute that runs out of its message")
            position += size if version > 1 else (size + 7) // 8 * 8
        name = parts[0].split(b"\0")[0].decode("utf-8", "surrogateescape")
        return name, lambda: (datatype(parts[1]), dataspace(parts[2]), data[position:])

    def heap_object(self, address: int, index: int) -> tuple[int, int]:
        """Address and size of an object of a global heap (III.E)."""
        if address not in self._heaps:
            mark, _, size = struct.unpack("<4s4sQ", self.read(address, 16))
            if mark != b"GCOL":
                raise BrokenError("a global heap without its mark")
            self.read(address + size - 1, 1)
            objects = {}
            position = 16
            while position + 16 <= size:
                number, _, _, extent = struct.unpack("<HHIQ", self.read(address + position, 16))
                if number == 0:
                    break
                objects[number] = (address + position + 16, extent)
                position += 16 + (extent + 7) // 8 * 8
                if position > size:
                    raise BrokenError("an object that runs out of its global heap")
            self._heaps[address] = objects
        if index not in self._heaps[address]:
            raise BrokenError("a reference to an object that its global heap lacks")
        return self._heaps[address][index]

    # --------------------------------------------------------------- datasets

    def chunks(self, layout: Layout) -> Iterator[Chunk]:
        """The stored chunks of a chunked dataset."""
        rank = len(layout.chunk)
        if layout.address == UNDEFINED:
            return
        for node in self._tree_leaves(layout.address, kind=1, key_size=8 + 8 * (rank + 1)):
            for key, child in node:
                size, mask, *offset = struct.unpack(f"<II{rank + 1}Q", key)
                yield Chunk(tuple(offset[:rank]), child, size, mask)


def _add(members: dict[str, int | None], name: str, address: int | None) -> None:
    if name in members:
        raise BrokenError("two members of one name")
    if len(members) >= OBJECTS:
        raise BrokenError(f"more than {OBJECTS} members")
    members[name] = address
