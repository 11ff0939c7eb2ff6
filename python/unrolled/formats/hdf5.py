# SPDX-License-Identifier: MIT
"""Read access to HDF5 files of strangers: hard links, data inside the file, sizes checked first.

h5py is imported here and nowhere else, when the first file is opened.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ModelFileError, printable
from unrolled.formats.archive import regular_size
from unrolled.formats.checks import EXPANSION, HDF5_DEPTH, OBJECTS, SLACK, converted

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SHUFFLE, _DEFLATE = 2, 1  # h5py.h5z.FILTER_*


@dataclass(frozen=True)
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
    """

    file: HDF5File
    path: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def title(self) -> str:
        """The dataset for error messages."""
        return self.file.where(self.path)

    def read(self) -> NDArray[Any]:
        """The values: floats of any width as float32 (bfloat16 too), integers as they are."""
        return self.file.read(self.path)


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
        if isinstance(source, bytes):
            self._size = len(source)
            start = source[: len(SIGNATURE) + 1]
        else:
            self._size = regular_size(source)
            with open(source, "rb") as file:
                start = file.read(len(SIGNATURE) + 1)
        if not start.startswith(SIGNATURE) or len(start) <= len(SIGNATURE):
            raise ModelFileError(f"{title}: not an HDF5 file")
        if start[-1] > 3:
            raise ModelFileError(f"{title}: HDF5 superblock of unknown version {start[-1]}")
        # Bytes that may still be read: arrays may overlap in the file, so each alone proves nothing.
        self._allowance = EXPANSION * self._size + SLACK
        with converted(f"{title}: broken HDF5 file"):
            import h5py  # type: ignore[import-untyped]

            self._h5py = h5py
            self._file = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")

    def close(self) -> None:
        """Close the file."""
        with converted(f"{self.title}: broken HDF5 file"):
            self._file.close()

    def where(self, path: tuple[str, ...]) -> str:
        """An object of the file for error messages."""
        return f"{self.title}, {printable('/' + '/'.join(path))!r}"

    # ---------------------------------------------------------------- objects

    def _open(self, path: tuple[str, ...]) -> Any:
        """The low-level id of the object at ``path``, by hard links only."""
        h5py = self._h5py
        with converted(f"{self.where(path)}: broken"):
            found = h5py.h5g.open(self._file.id, b"/")
            for depth, name in enumerate(path):
                encoded = name.encode("utf-8", "surrogateescape")
                if not isinstance(found, h5py.h5g.GroupID) or not found.links.exists(encoded):
                    raise ModelFileError(f"{self.where(path[: depth + 1])}: missing")
                if found.links.get_info(encoded).type != h5py.h5l.TYPE_HARD:
                    raise ModelFileError(
                        f"{self.where(path[: depth + 1])}: a link out of its place in the file (soft or external)"
                    )
                found = h5py.h5o.open(found, encoded)
            return found

    def contains(self, path: tuple[str, ...]) -> bool:
        """Whether there is an object at ``path``."""
        return all(path[depth] in self.children(path[:depth]) for depth in range(len(path)))

    def is_group(self, path: tuple[str, ...]) -> bool:
        """Whether the object at ``path`` is a group."""
        return isinstance(self._open(path), self._h5py.h5g.GroupID)

    def children(self, path: tuple[str, ...]) -> list[str]:
        """Names of the links of the group at ``path``; none where it is no group."""
        group = self._open(path)
        if not isinstance(group, self._h5py.h5g.GroupID):
            return []
        with converted(f"{self.where(path)}: broken group"):
            if group.get_num_objs() > OBJECTS:
                raise ModelFileError(
                    f"{self.where(path)}: {group.get_num_objs()} members (at most {OBJECTS})"
                )
            return [name.decode("utf-8", "surrogateescape") for name in group]

    def walk(self, path: tuple[str, ...], skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, ...]]:
        """Paths of all groups at and below ``path``, parents first, without first-level names in ``skip``."""
        waiting = [path]
        seen = set()
        while waiting:
            here = waiting.pop()
            identifier = self._open(here)
            if not isinstance(identifier, self._h5py.h5g.GroupID):
                continue
            with converted(f"{self.where(here)}: broken group"):
                address = self._h5py.h5o.get_info(identifier).addr
            if address in seen:
                raise ModelFileError(f"{self.where(here)}: a group that has two places in the file")
            seen.add(address)
            if len(here) > HDF5_DEPTH or len(seen) > OBJECTS:
                raise ModelFileError(f"{self.where(here)}: groups nested too deeply or too many")
            yield here
            names = self.children(here)
            if here == path:
                names = [name for name in names if name not in skip]
            waiting += [(*here, name) for name in reversed(names)]

    # ------------------------------------------------------------- attributes

    def attribute_names(self, path: tuple[str, ...]) -> list[str]:
        """Names of the attributes of the object at ``path``."""
        identifier = self._open(path)
        with converted(f"{self.where(path)}: broken attributes"):
            count = self._h5py.h5a.get_num_attrs(identifier)
            if count > OBJECTS:
                raise ModelFileError(f"{self.where(path)}: {count} attributes (at most {OBJECTS})")
            return [
                self._h5py.h5a.open(identifier, index=number).name.decode("utf-8", "surrogateescape")
                for number in range(count)
            ]

    def attribute(self, path: tuple[str, ...], name: str) -> str | list[str] | None:
        """A string attribute, or a list of strings; ``None`` where absent.

        Keras stores an empty list of names as an empty float64 array.
        """
        identifier = self._open(path)
        encoded = name.encode("utf-8", "surrogateescape")
        part = f"{self.where(path)}, attribute {printable(name)!r}"
        with converted(f"{part}: broken"):
            if not self._h5py.h5a.exists(identifier, encoded):
                return None
            attribute = self._h5py.h5a.open(identifier, encoded)
            count = int(np.prod(attribute.shape, dtype=object)) if attribute.shape else 1
            # Checked before reading: HDF5 allocates what an attribute declares.
            if count * attribute.get_type().get_size() > self._size:
                raise ModelFileError(f"{part}: declares {count} elements in a file of {self._size} bytes")
            if count == 0:
                return []
            kind = attribute.get_type().get_class()
            if kind != self._h5py.h5t.STRING:
                raise ModelFileError(f"{part}: expected text")
            value = self._file[self._path_bytes(path)].attrs[name]
        if isinstance(value, str | bytes):
            return _text(value)
        with converted(f"{part}: broken"):
            return [_text(element) for element in np.ravel(value)]

    def _path_bytes(self, path: tuple[str, ...]) -> bytes:
        return b"/" + b"/".join(name.encode("utf-8", "surrogateescape") for name in path)

    # --------------------------------------------------------------- datasets

    def stored(self, path: tuple[str, ...]) -> StoredArray:
        """The dataset at ``path``, checked.

        Raises
        ------
        ModelFileError
            No dataset, of another type than numbers, not inside this file, with unknown filters, or
            declaring more than it can hold.
        """
        dataset = self._dataset(path)
        with converted(f"{self.where(path)}: broken dataset"):
            return StoredArray(self, path, tuple(int(size) for size in dataset.shape))

    def _dataset(self, path: tuple[str, ...]) -> Any:
        h5py = self._h5py
        dataset = self._open(path)
        part = self.where(path)
        if not isinstance(dataset, h5py.h5d.DatasetID):
            raise ModelFileError(f"{part}: expected a dataset")
        with converted(f"{part}: broken dataset"):
            self._check_type(dataset, part)
            size = _byte_count(dataset.shape, dataset.dtype)
            creation = dataset.get_create_plist()
            layout = creation.get_layout()
            if creation.get_external_count():
                raise ModelFileError(f"{part}: its data lies in other files")
            if layout == h5py.h5d.CONTIGUOUS:
                offset = dataset.get_offset() or 0
                if size > dataset.get_storage_size() or offset + size > self._size:
                    raise ModelFileError(
                        f"{part}: declares {size} bytes, stores {dataset.get_storage_size()} in a file of {self._size}"
                    )
            elif layout == h5py.h5d.COMPACT:
                if size > dataset.get_storage_size():
                    raise ModelFileError(
                        f"{part}: declares {size} bytes, stores {dataset.get_storage_size()}"
                    )
            elif layout == h5py.h5d.CHUNKED:
                self._check_chunks(creation, dataset.dtype, size, part)
            else:
                raise ModelFileError(f"{part}: its data lies in other datasets or files")
            return dataset

    def _check_type(self, dataset: Any, part: str) -> None:
        h5t = self._h5py.h5t
        kind = dataset.get_type().get_class()
        if kind not in (h5t.FLOAT, h5t.INTEGER, h5t.OPAQUE, h5t.ENUM):
            raise ModelFileError(f"{part}: expected numbers")
        dtype = dataset.dtype
        sizes = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "b": (1,), "V": (2,)}
        if dtype.itemsize not in sizes.get(dtype.kind, ()) or dtype.shape:
            raise ModelFileError(f"{part}: unknown type of numbers {printable(dtype)}")

    def _check_chunks(self, creation: Any, dtype: np.dtype[Any], size: int, part: str) -> None:
        chunk = _byte_count(creation.get_chunk(), dtype)
        limit = EXPANSION * self._size + SLACK
        if max(size, chunk) > limit:
            raise ModelFileError(f"{part}: declares {max(size, chunk)} bytes in a file of {self._size}")
        codes = [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]
        if codes not in ([], [_DEFLATE], [_SHUFFLE], [_SHUFFLE, _DEFLATE]):
            raise ModelFileError(f"{part}: compressed by filters other than gzip and shuffle ({codes})")

    def read(self, path: tuple[str, ...]) -> NDArray[Any]:
        """Read the dataset at ``path``; see ``StoredArray.read``."""
        dataset = self._dataset(path)
        part = self.where(path)
        with converted(f"{part}: broken dataset"):
            dtype = dataset.dtype
            self._allowance -= _byte_count(dataset.shape, dtype)
            if self._allowance < 0:
                raise ModelFileError(
                    f"{part}: the arrays of the file hold more than {EXPANSION} times its {self._size} bytes"
                )
            if dataset.get_create_plist().get_layout() == self._h5py.h5d.CHUNKED:
                values = self._read_chunks(dataset, part)
            else:
                values = np.zeros(dataset.shape, dtype=dtype)
                if values.size:
                    dataset.read(self._h5py.h5s.ALL, self._h5py.h5s.ALL, values)
            return _numbers(values)

    def _read_chunks(self, dataset: Any, part: str) -> NDArray[Any]:
        """The values of a chunked dataset, each chunk inflated to its declared size and no further.

        HDF5's own gzip filter grows its buffer for as long as the stream goes on.
        """
        creation = dataset.get_create_plist()
        dtype, chunk_shape = dataset.dtype, creation.get_chunk()
        codes = [creation.get_filter(number)[0] for number in range(creation.get_nfilters())]
        values = np.zeros(dataset.shape, dtype=dtype)
        chunk_bytes = _byte_count(chunk_shape, dtype)
        for number in range(dataset.get_num_chunks()):
            info = dataset.get_chunk_info(number)
            if info.byte_offset is None or info.byte_offset + info.size > self._size:
                raise ModelFileError(f"{part}: a chunk outside the file")
            self._allowance -= chunk_bytes
            if self._allowance < 0:
                raise ModelFileError(f"{part}: its chunks hold more than {EXPANSION} times the file's bytes")
            mask, data = dataset.read_direct_chunk(info.chunk_offset)
            for position in reversed(range(len(codes))):
                if not mask >> position & 1:
                    data = _unfilter(codes[position], data, chunk_bytes, dtype.itemsize)
            if len(data) != chunk_bytes:
                raise ModelFileError(f"{part}: a chunk of {len(data)} bytes, expected {chunk_bytes}")
            inside = tuple(
                slice(offset, min(offset + extent, size))
                for offset, extent, size in zip(info.chunk_offset, chunk_shape, dataset.shape, strict=True)
            )
            chunk = np.frombuffer(data, dtype=dtype).reshape(chunk_shape)
            values[inside] = chunk[tuple(slice(0, part.stop - part.start) for part in inside)]
        return values


def _unfilter(code: int, data: bytes, size: int, itemsize: int) -> bytes:
    if code == _DEFLATE:
        return zlib.decompressobj().decompress(data, size + 1)
    planes = np.frombuffer(data, dtype=np.uint8)
    return planes.reshape(itemsize, -1).T.tobytes()


def _byte_count(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    count = dtype.itemsize
    for size in shape:
        count *= int(size)
    return count


def _numbers(values: NDArray[Any]) -> NDArray[Any]:
    """Floats as float32, opaque two-byte values as bfloat16, integers as they are, in native byte order."""
    if values.dtype.kind == "V":
        # bfloat16 is the upper half of a float32 (Keras 3 stores it as opaque |V2; `.h5` files have no
        # attribute that says so, and no other two-byte type is stored that way).
        return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(values.shape)
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(np.float32)
    return values.astype(values.dtype.newbyteorder("="))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return value
    raise ValueError("expected text")
