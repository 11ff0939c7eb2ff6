# SPDX-License-Identifier: MIT
"""Writing HDF5 files of groups, contiguous arrays and short text attributes, as Keras's own files are.

Format: "HDF5 File Format Specification 3.0", version 0 of the superblock, groups by symbol tables.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_UNDEFINED = 0xFFFFFFFFFFFFFFFF
# Half of the entries that a node of symbols and a node of a B-tree has room for: the library's defaults.
_LEAF_K = 4
_INTERNAL_K = 16
# Type messages by dtype: class and version, bit field, size, then what the class says of its bits.
_TYPES = {
    "float32": struct.pack("<B3BIHHBBBBI", 0x11, 0x20, 0x1F, 0, 4, 0, 32, 23, 8, 0, 23, 127),
    "int8": struct.pack("<B3BIHH", 0x10, 0x08, 0, 0, 1, 0, 8),
    "int32": struct.pack("<B3BIHH", 0x10, 0x08, 0, 0, 4, 0, 32),
}


@dataclass
class Group:
    """A group being built: groups and arrays by name, and attributes."""

    children: dict[str, Group | NDArray[Any]] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)

    def at(self, *path: str) -> Group:
        """The group at a path below, made where it is not there yet."""
        group = self
        for name in path:
            found = group.children.setdefault(name, Group())
            if not isinstance(found, Group):
                raise ValueError(f"{'/'.join(path)}: an array has no members")
            group = found
        return group


def write_hdf5(root: Group) -> bytes:
    """The bytes of a file with this root group.

    Raises
    ------
    ValueError
        An array of a dtype other than float32, int8 and int32, or a name or text that is too long.
    """
    return _Writer(root).finish()


class _Writer:
    def __init__(self, root: Group) -> None:
        self._data = bytearray(96)
        header, tree, heap = self._group(root)
        self._superblock(header, tree, heap)

    def finish(self) -> bytes:
        return bytes(self._data)

    def _superblock(self, header: int, tree: int, heap: int) -> None:
        versions = struct.pack("<8B", 0, 0, 0, 0, 0, 8, 8, 0)
        sizes = struct.pack("<HHI", _LEAF_K, _INTERNAL_K, 0)
        addresses = struct.pack("<QQQQ", 0, _UNDEFINED, len(self._data), _UNDEFINED)
        entry = struct.pack("<QQIIQQ", 0, header, 1, 0, tree, heap)
        self._data[:96] = b"\x89HDF\r\n\x1a\n" + versions + sizes + addresses + entry

    def _append(self, data: bytes) -> int:
        """The address of ``data``, which is a multiple of 8."""
        self._data += bytes(-len(self._data) % 8)
        address = len(self._data)
        self._data += data
        return address

    def _group(self, group: Group) -> tuple[int, int, int]:
        """Addresses of a group's header, B-tree and heap of names."""
        # The library finds names by halving: they are in the order of their bytes.
        members = sorted((name.encode(), child) for name, child in group.children.items())
        names = bytearray(8)
        entries = []
        for name, child in members:
            address = self._group(child)[0] if isinstance(child, Group) else self._array(child)
            entries.append((len(names), address))
            names += name + bytes(8 - len(name) % 8)
        segment = self._append(bytes(names))
        # 1: no free space in it.
        heap = self._append(b"HEAP" + struct.pack("<B3xQQQ", 0, len(names), 1, segment))
        tree = self._tree(entries)
        messages = [(0x11, struct.pack("<QQ", tree, heap))]
        messages += [(0x0C, _attribute(name, text)) for name, text in group.attributes.items()]
        return self._header(messages), tree, heap

    def _tree(self, entries: list[tuple[int, int]]) -> int:
        """The address of the B-tree over a group's members, each the place of its name and its header."""
        children = []
        for part in _parts(entries, 2 * _LEAF_K):
            node = b"SNOD" + struct.pack("<BxH", 1, len(part))
            node += b"".join(struct.pack("<QQII16x", *entry, 0, 0) for entry in part)
            children.append((part[-1][0], self._append(node.ljust(8 + 2 * _LEAF_K * 40, b"\0"))))
        level = 0
        while True:
            children = self._tree_level(level, children)
            if len(children) == 1:
                return children[0][1]
            level += 1

    def _tree_level(self, level: int, children: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The nodes above ``children``. Each stands with the place of the last name below it."""
        size = 24 + (2 * _INTERNAL_K + 1) * 8 + 2 * _INTERNAL_K * 8
        parts = _parts(children, 2 * _INTERNAL_K) or [[]]
        first = len(self._data) + -len(self._data) % 8
        addresses = [_UNDEFINED, *(first + size * number for number in range(len(parts))), _UNDEFINED]
        last, nodes = 0, []
        for number, part in enumerate(parts):
            # Between two children stands the last name of the one before.
            node = b"TREE" + struct.pack(
                "<BBHQQQ", 0, level, len(part), addresses[number], addresses[number + 2], last
            )
            node += b"".join(struct.pack("<QQ", address, name) for name, address in part)
            last = part[-1][0] if part else 0
            nodes.append((last, self._append(node.ljust(size, b"\0"))))
        return nodes

    def _array(self, array: NDArray[Any]) -> int:
        if str(array.dtype) not in _TYPES:
            raise ValueError(f"arrays of dtype {array.dtype} cannot be written")
        raw = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        address = self._append(raw) if raw else _UNDEFINED
        return self._header(
            [
                (0x01, _space(array.shape)),
                (0x03, _TYPES[str(array.dtype)]),
                (0x05, bytes([2, 2, 2, 0])),  # no fill value
                (0x08, struct.pack("<BBQQ", 3, 1, address, len(raw))),
            ]
        )

    def _header(self, messages: list[tuple[int, bytes]]) -> int:
        body = b""
        for kind, data in messages:
            data += bytes(-len(data) % 8)
            if len(data) > 0xFFF8:
                raise ValueError("a name or text is too long for HDF5")
            body += struct.pack("<HHB3x", kind, len(data), 0) + data
        return self._append(struct.pack("<BxHII4x", 1, len(messages), 1, len(body)) + body)


def _space(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f"<BBB5x{len(shape)}Q", 1, len(shape), 0, *shape)


def _attribute(name: str, text: str) -> bytes:
    """A text of fixed length, UTF-8, padded with zeros."""
    key, value = name.encode() + b"\0", text.encode() or b"\0"
    kind = struct.pack("<B3BI", 0x13, 0x11, 0, 0, len(value))
    space = _space(())
    head = struct.pack("<BxHHH", 1, len(key), len(kind), len(space))
    return head + b"".join(part + bytes(-len(part) % 8) for part in (key, kind, space)) + value


def _parts(values: list[tuple[int, int]], size: int) -> list[list[tuple[int, int]]]:
    return [values[start : start + size] for start in range(0, len(values), size)]
