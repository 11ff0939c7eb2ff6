# SPDX-License-Identifier: MIT
"""HDF5 files by h5py, for forms of the format that unrolled does not read itself. Only where a user asks for it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ModelFileError, printable
from unrolled.formats.archive import size_of
from unrolled.formats.checks import EXPANSION, HDF5_DEPTH, OBJECTS, SLACK, BrokenError, converted
from unrolled.formats.hdf5.file import HDF5File, StoredArray


def open_with_h5py(source: Path | bytes, title: str) -> HDF5File:
    """A file, or its content, open for reading by h5py.

    Raises
    ------
    ImportError
        h5py is not installed.
    ModelFileError
        h5py cannot read it.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError("hdf5='h5py' needs h5py: pip install h5py") from error
    return _LibraryFile(h5py, source, title)


class _LibraryFile(HDF5File):
    """``HDF5File`` over h5py; links that are soft or lead out of the file are not followed here either."""

    def __init__(self, h5py: Any, source: Path | bytes, title: str) -> None:
        self.title = title
        self._h5py = h5py
        self._size = size_of(source)
        self._allowance = EXPANSION * self._size + SLACK
        with converted(f"{title}: not an HDF5 file that h5py reads"):
            self._library_file = h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")

    def close(self) -> None:
        self._library_file.close()

    def _object(self, path: tuple[str, ...]) -> Any:
        found = self._library_file
        for depth, name in enumerate(path):
            here = path[: depth + 1]
            with converted(f"{self.where(here)}: broken HDF5 object"):
                if not isinstance(found, self._h5py.Group) or name not in found:
                    raise BrokenError("missing")
                if not isinstance(found.get(name, getlink=True), self._h5py.HardLink):
                    raise BrokenError("a soft or external link, which is never followed")
                found = found[name]
        return found

    def children(self, path: tuple[str, ...]) -> list[str]:
        found = self._object(path)
        with converted(f"{self.where(path)}: broken HDF5 group"):
            return list(found) if isinstance(found, self._h5py.Group) else []

    def walk(self, path: tuple[str, ...], skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, ...]]:
        waiting = [path]
        count = 0
        while waiting:
            here = waiting.pop()
            found = self._object(here)
            if not isinstance(found, self._h5py.Group):
                continue
            count += 1
            if len(here) > HDF5_DEPTH or count + len(waiting) > OBJECTS:
                raise ModelFileError(f"{self.where(here)}: groups nested too deeply, or too many")
            yield here
            names = [
                name
                for name in found
                if (here != path or name not in skip)
                and isinstance(found.get(name, getlink=True), self._h5py.HardLink)
            ]
            waiting += [(*here, name) for name in reversed(names)]

    def attribute_names(self, path: tuple[str, ...]) -> list[str]:
        found = self._object(path)
        with converted(f"{self.where(path)}: broken attributes"):
            return list(found.attrs)

    def attribute(self, path: tuple[str, ...], name: str) -> str | list[str] | None:
        found = self._object(path)
        with converted(f"{self.where(path)}, attribute {printable(name)!r}: broken"):
            if name not in found.attrs:
                return None
            value = found.attrs[name]
            if isinstance(value, str | bytes):
                return _text(value)
            array = np.asarray(value)
            if array.size and array.dtype.kind not in "SUO":
                raise BrokenError("expected text")
            texts = [_text(element) for element in array.ravel().tolist()]
            return texts if array.ndim or not texts else texts[0]

    def stored(self, path: tuple[str, ...]) -> StoredArray:
        return StoredArray(self, path, tuple(self._dataset_at(path).shape))

    def read(self, stored: StoredArray) -> NDArray[Any]:
        found = self._dataset_at(stored.path)
        with converted(f"{stored.title}: broken dataset"):
            self._spend(found.size * found.dtype.itemsize)
            values = np.asarray(found[()])
            if values.dtype.kind == "V":  # bfloat16, which Keras 3 stores as pairs of bytes
                return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
            if values.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    return values.astype(np.float32)
            return values.astype(values.dtype.newbyteorder("="))

    def _dataset_at(self, path: tuple[str, ...]) -> Any:
        found = self._object(path)
        with converted(f"{self.where(path)}: broken dataset"):
            if not isinstance(found, self._h5py.Dataset) or found.shape is None:
                raise BrokenError("expected a dataset")
            if found.external or found.is_virtual:
                raise BrokenError("its data lies in other files")
            dtype = found.dtype
            if dtype.kind not in "biuf" and not (
                dtype.kind == "V" and dtype.itemsize == 2 and not dtype.names
            ):
                raise BrokenError("expected numbers")
            if found.size * dtype.itemsize > EXPANSION * self._size + SLACK:
                raise BrokenError(f"declares {found.size} elements in a file of {self._size} bytes")
            return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
