# SPDX-License-Identifier: MIT
"""Read access to HDF5 files of strangers: hard links, data inside the file, sizes checked first."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ModelFileError, printable
from unrolled.formats.archive import regular_size
from unrolled.formats.checks import EXPANSION, HDF5_DEPTH, OBJECTS, SLACK, BrokenError, converted
from unrolled.formats.hdf5 import messages, structures
from unrolled.formats.hdf5.chunks import KNOWN_FILTERS, indexed_chunks, unfilter
from unrolled.formats.hdf5.messages import Datatype, Layout
from unrolled.formats.hdf5.structures import SIGNATURE, Header, Structures, hdf5_offset

__all__ = ["SIGNATURE", "HDF5File", "StoredArray"]


@dataclass(slots=True)
class StoredArray:
    """A dataset that has passed the checks but is not read.

    Parameters
    ----------
    file : HDF5File
        Where it lies.
    path : tuple of str
        The names of the links that lead to it.
    shape : tuple of int
        Its shape.
    contents : Contents, optional
        How it lies there, where that is known.
    """

    file: HDF5File
    path: tuple[str, ...]
    shape: tuple[int, ...]
    contents: Contents | None = None

    @property
    def title(self) -> str:
        """The dataset for error messages."""
        return self.file.where(self.path)

    def read(self) -> NDArray[Any]:
        """The values: floats of any width as float32 (bfloat16 too), integers as they are."""
        return self.file.read(self)


class Place(NamedTuple):
    """An object of a file; its text is for error messages."""

    file: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}, {printable('/' + '/'.join(self.path))!r}"


class Contents(NamedTuple):
    """Shape, type, layout and filters of a dataset."""

    shape: tuple[int, ...]
    datatype: Datatype
    layout: Layout
    codes: list[int]


class HDF5File:
    """An HDF5 file, open for reading.

    Parameters
    ----------
    source : Path or bytes
        The file, or its content (a member of an archive).
    title : str
        The file for error messages.

    Raises
    ------
    ModelFileError
        It is no HDF5 file, or broken.
    """

    def __init__(self, source: Path | bytes, title: str) -> None:
        self.title = title
        self._size = len(source) if isinstance(source, bytes) else regular_size(source)
        # Bytes that may still be read: structures, arrays and texts may overlap in the file, so each alone
        # proves nothing. A sound file is read about once.
        self._allowance = EXPANSION * self._size + SLACK
        start = hdf5_offset(source)
        self._start = 0 if start is None else start  # behind a user block
        self._file: BinaryIO = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")  # noqa: SIM115
        self._structures = Structures(self._bytes)
        self._members: dict[int, dict[str, int | None] | None] = {}
        try:
            with converted(f"{title}: not an HDF5 file that Keras writes"):
                self._root = self._structures.root()
                self._addresses: dict[tuple[str, ...], int] = {(): self._root}
        except ModelFileError:
            self._file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def where(self, path: tuple[str, ...]) -> str:
        """An object of the file for error messages."""
        return str(self.place(path))

    def place(self, path: tuple[str, ...]) -> Place:
        """``where``, put into words when an error needs it."""
        return Place(self.title, path)

    def _bytes(self, address: int, size: int) -> bytes:
        if size < 0 or address < 0 or self._start + address + size > self._size:
            raise BrokenError(f"{size} bytes at {address}, outside the file of {self._size} bytes")
        self._spend(size)
        self._file.seek(self._start + address)
        data = self._file.read(size)
        if len(data) != size:
            raise BrokenError("the file ends early")
        return data

    # ---------------------------------------------------------------- objects

    def _address(self, path: tuple[str, ...]) -> int:
        """The header address of the object at ``path``, by hard links only."""
        known = self._addresses.get(path)
        if known is not None:
            return known
        parent = self._addresses.get(path[:-1])
        address = self._root if parent is None else parent
        for depth in range(0 if parent is None else len(path) - 1, len(path)):
            members = self._links(address, path[:depth])
            name = path[depth]
            if members is None or name not in members:
                raise ModelFileError(f"{self.where(path[: depth + 1])}: missing")
            target = members[name]
            if target is None:
                raise ModelFileError(
                    f"{self.where(path[: depth + 1])}: a soft or external link, which is never followed"
                )
            address = target
        self._addresses[path] = address
        return address

    def _header(self, path: tuple[str, ...]) -> Header:
        address = self._address(path)
        with converted(lambda: f"{self.where(path)}: broken HDF5 object"):
            return self._structures.header(address)

    def _links(self, address: int, path: tuple[str, ...]) -> dict[str, int | None] | None:
        if address not in self._members:
            with converted(lambda: f"{self.where(path)}: broken HDF5 group"):
                self._members[address] = self._structures.links(self._structures.header(address))
        return self._members[address]

    def contains(self, path: tuple[str, ...]) -> bool:
        """Whether there is an object at ``path``."""
        return all(path[depth] in self.children(path[:depth]) for depth in range(len(path)))

    def children(self, path: tuple[str, ...]) -> list[str]:
        """Names of the members of the group at ``path``; none where it is no group."""
        return list(self._links(self._address(path), path) or ())

    def walk(self, path: tuple[str, ...], skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, ...]]:
        """Paths of all groups at and below ``path``, parents first, without first-level names in ``skip``."""
        waiting = [path]
        seen: set[int] = set()
        while waiting:
            here = waiting.pop()
            address = self._address(here)
            members = self._links(address, here)
            if members is None:
                continue
            if address in seen:
                raise ModelFileError(f"{self.where(here)}: a group that has two places in the file")
            seen.add(address)
            if len(here) > HDF5_DEPTH or len(waiting) + len(seen) > OBJECTS:
                raise ModelFileError(f"{self.where(here)}: groups nested too deeply, or too many")
            yield here
            names = [
                name
                for name, target in members.items()
                if target is not None and (here != path or name not in skip)
            ]
            waiting += [(*here, name) for name in reversed(names)]

    # ------------------------------------------------------------- attributes

    def attribute_names(self, path: tuple[str, ...]) -> list[str]:
        """Names of the attributes of the object at ``path``."""
        header = self._header(path)
        with converted(lambda: f"{self.where(path)}: broken attributes"):
            return [self._structures.attribute(data)[0] for data in self._structures.attributes(header)]

    def attribute(self, path: tuple[str, ...], name: str) -> str | list[str] | None:
        """A string attribute, or a list of strings; ``None`` where absent.

        Keras stores an empty list of names as an empty float64 array.
        """
        header = self._header(path)
        with converted(lambda: f"{self.where(path)}, attribute {printable(name)!r}: broken"):
            for data in self._structures.attributes(header):
                found, content = self._structures.attribute(data)
                if found == name:
                    return self._texts(*content())
        return None

    def _texts(self, kind: Datatype, shape: tuple[int, ...], data: bytes) -> str | list[str]:
        count = _count(shape)
        if count == 0:
            return []
        if kind.kind not in ("string", "text"):
            raise BrokenError("expected text")
        if count * kind.size > len(data) or kind.size == 0:
            raise BrokenError(f"declares {count} elements of {kind.size} bytes, holds {len(data)} bytes")
        elements = [data[number * kind.size : (number + 1) * kind.size] for number in range(count)]
        texts = [
            (self._heap_text(element) if kind.kind == "text" else element.rstrip(b"\0")).decode(
                "utf-8", "surrogateescape"
            )
            for element in elements
        ]
        return texts if shape else texts[0]

    def _heap_text(self, element: bytes) -> bytes:
        length = int.from_bytes(element[:4], "little")
        address = int.from_bytes(element[4:12], "little")
        if length == 0 or address in (0, messages.UNDEFINED):
            return b""
        start, size = self._structures.heap_object(address, int.from_bytes(element[12:16], "little"))
        if length > size:
            raise BrokenError("a text longer than what is stored")
        return self._bytes(start, length)

    def _spend(self, size: int) -> None:
        self._allowance -= size
        if self._allowance < 0:
            raise BrokenError(f"what is read exceeds {EXPANSION} times the file's {self._size} bytes")

    # --------------------------------------------------------------- datasets

    def stored(self, path: tuple[str, ...]) -> StoredArray:
        """The dataset at ``path``, checked.

        Raises
        ------
        ModelFileError
            No dataset, of another type than numbers, not inside this file, with unknown filters, or
            declaring more than it can hold.
        """
        header = self._header(path)
        with converted(lambda: f"{self.where(path)}: broken dataset"):
            contents = self._dataset(header)
            return StoredArray(self, path, contents.shape, contents)

    def _dataset(self, header: Header) -> Contents:
        space = header.find(structures.DATASPACE)
        kind = header.find(structures.DATATYPE)
        place = header.find(structures.LAYOUT)
        if space is None or kind is None or place is None:
            raise BrokenError("expected a dataset")
        if header.find(structures.EXTERNAL_FILES) is not None:
            raise BrokenError("its data lies in other files")
        shape, datatype, layout = (
            messages.dataspace(space),
            messages.datatype(kind),
            messages.layout(place),
        )
        if datatype.kind not in ("number", "bfloat16"):
            raise BrokenError("expected numbers")
        size = _count(shape) * datatype.size
        pipeline = header.find(structures.FILTERS)
        codes = [] if pipeline is None else messages.filters(pipeline)
        if layout.kind == "chunked":
            limit = EXPANSION * self._size + SLACK
            chunk = _count(layout.chunk) * datatype.size
            if max(size, chunk) > limit or len(layout.chunk) != len(shape) or chunk == 0:
                raise BrokenError(f"declares {max(size, chunk)} bytes in a file of {self._size}")
            if len(set(codes)) < len(codes) or not set(codes) <= set(KNOWN_FILTERS):
                raise BrokenError(
                    f"compressed by filters other than gzip, lzf, shuffle and fletcher32 ({codes}); "
                    'load_model(..., hdf5="h5py") reads what the installed h5py can'
                )
        elif codes:
            raise BrokenError("filters without chunks")
        elif layout.kind == "compact":
            if size != len(layout.data):
                raise BrokenError(f"declares {size} bytes, stores {len(layout.data)}")
        elif size and (size > layout.size or layout.address + size > self._size):
            raise BrokenError(f"declares {size} bytes, stores {layout.size}, in a file of {self._size}")
        return Contents(shape, datatype, layout, codes)

    def read(self, stored: StoredArray) -> NDArray[Any]:
        """Read a dataset of this file; see ``StoredArray.read``."""
        assert stored.contents is not None
        with converted(lambda: f"{stored.title}: broken dataset"):
            shape, datatype, layout, codes = stored.contents
            size = _count(shape) * datatype.size
            dtype = np.dtype("<u2") if datatype.dtype is None else datatype.dtype
            if size == 0:
                values = np.zeros(shape, dtype=dtype)
            elif layout.kind == "chunked":
                values = self._read_chunks(shape, dtype, layout, codes)
            else:
                data = layout.data if layout.kind == "compact" else self._bytes(layout.address, size)
                values = np.frombuffer(data, dtype=dtype).reshape(shape)
            return _numbers(values, datatype)

    def _read_chunks(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], layout: Layout, codes: list[int]
    ) -> NDArray[Any]:
        """The values of a chunked dataset, each chunk inflated to its declared size and no further."""
        extent = _count(layout.chunk) * dtype.itemsize
        counts = [-(-size // step) for size, step in zip(shape, layout.chunk, strict=True)]
        # Each chunk has an entry in its index (of 32 bytes or more in a version 1 B-tree), or lies in the file.
        entry = 32 if layout.index == 0 else 8 if layout.index != 2 else extent
        if layout.index != 1 and entry * _count(tuple(counts)) > self._size:
            raise BrokenError(f"declares {_count(tuple(counts))} chunks in a file of {self._size} bytes")
        self._spend(_count(shape) * dtype.itemsize)
        values = np.zeros(shape, dtype=dtype)
        missing = set(np.ndindex(*counts))
        chunks = (
            self._structures.chunks(layout)
            if layout.index == 0
            else indexed_chunks(self._bytes, layout, counts, extent, bool(codes))
        )
        for chunk in chunks:
            place = tuple(offset // step for offset, step in zip(chunk.offset, layout.chunk, strict=True))
            if place not in missing:
                raise BrokenError("a chunk that is outside the dataset, or stored twice")
            missing.discard(place)
            self._spend(extent)
            data = self._bytes(chunk.address, chunk.size)
            for position in reversed(range(len(codes))):
                if not chunk.mask >> position & 1:
                    data = unfilter(codes[position], data, extent + 5, dtype.itemsize)
            if len(data) != extent:
                raise BrokenError(f"a chunk of {len(data)} bytes, expected {extent}")
            block = np.frombuffer(data, dtype=dtype).reshape(layout.chunk)
            target = tuple(
                slice(number * step, min((number + 1) * step, size))
                for number, step, size in zip(place, layout.chunk, shape, strict=True)
            )
            values[target] = block[tuple(slice(0, part.stop - part.start) for part in target)]
        if missing:
            raise BrokenError("chunks are missing")
        return values


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= int(size)
    return count


def _numbers(values: NDArray[Any], datatype: Datatype) -> NDArray[Any]:
    """Floats as float32, bfloat16 too (it is the upper half of one), integers as they are, native order."""
    if datatype.kind == "bfloat16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    if values.dtype.kind == "f":
        if values.dtype.itemsize <= 4:
            return values.astype(np.float32)
        with np.errstate(over="ignore"):
            return values.astype(np.float32)
    return values.astype(values.dtype.newbyteorder("="))
