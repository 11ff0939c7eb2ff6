# SPDX-License-Identifier: MIT
"""Tensors of a TensorFlow checkpoint: `PREFIX.index` says where in `PREFIX.data-*` each lies.

Format: tensorflow/core/protobuf/tensor_bundle.proto, core/util/tensor_bundle/tensor_bundle.cc. Every tensor has
a checksum, which is verified whenever one is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ModelFileError, printable
from unrolled.formats.archive import Files, read_member
from unrolled.formats.checks import EXPANSION, MEBIBYTE, SLACK, BrokenError, converted
from unrolled.formats.recognition import refuse_pointer
from unrolled.formats.tensorbundle.crc32c import masked_crc32c
from unrolled.formats.tensorbundle.table import read_table
from unrolled.formats.tensorbundle.wire import Budget, fields, message, number, signed, varint

GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
INDEX_BYTES = 64 * MEBIBYTE
_SHARDS = 10_000
_RANK = 16
_STRING = 7
_BFLOAT16 = 14
# tensorflow/core/framework/types.proto
_DTYPES = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", _BFLOAT16: "<u2",
    17: "<u2", 19: "<f2", 22: "<u4", 23: "<u8",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies.

    Parameters
    ----------
    dtype : int
        TensorFlow's number of it.
    shape : tuple of int
        Its shape.
    shard, offset, size, checksum : int
        The data file, the bytes in it, and their masked CRC-32C.
    """

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int

    @property
    def count(self) -> int:
        """How many elements it has."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def is_floating(self) -> bool:
        """Whether it holds floating-point numbers, as weights do (states of generators do not)."""
        return self.dtype in (1, 2, _BFLOAT16, 19)


class Bundle:
    """A checkpoint, its index read and its tensors not.

    Parameters
    ----------
    files : Files
        The folder that it lies in.
    prefix : str
        The common start of its files' names.

    Raises
    ------
    ModelFileError
        The index is missing, damaged, or of a form that is not read.
    """

    def __init__(self, files: Files, prefix: str) -> None:
        self.title = printable(prefix)
        self._files = files
        self._prefix = prefix
        index = f"{prefix}.index"
        data = read_member(files, index, INDEX_BYTES)
        refuse_pointer(data, printable(index))
        with converted(f"{printable(index)}: broken index of a checkpoint"):
            table = read_table(data)
            header = table.pop(b"", None)
            if header is None:
                raise BrokenError("no header")
            self._shards = _shard_count(header)
        self._entries = {key.decode("utf-8", "surrogateescape"): value for key, value in table.items()}
        self._sizes: dict[int, int] = {}
        # Tensors may overlap in the files, so that each alone proves nothing: what is read in all is bounded.
        self._allowance = SLACK

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def keys(self) -> list[str]:
        """The keys of all tensors, in order."""
        return list(self._entries)

    def entry(self, key: str) -> Entry:
        """Where the tensor ``key`` lies; ``ModelFileError`` where there is none, or none that is read."""
        if key not in self._entries:
            raise ModelFileError(f"{self.title}: has no tensor {printable(key)!r}")
        with converted(f"{self.title}, tensor {printable(key)!r}"):
            return _entry(self._entries[key], self._shards)

    def tensor(self, key: str) -> NDArray[Any]:
        """The values of a tensor: floats of any width as float32, integers as they are."""
        entry = self.entry(key)
        with converted(f"{self.title}, tensor {printable(key)!r}"):
            if entry.dtype not in _DTYPES:
                raise BrokenError(f"of the unsupported dtype {entry.dtype}")
            dtype = np.dtype(_DTYPES[entry.dtype])
            if entry.size != entry.count * dtype.itemsize:
                raise BrokenError(
                    f"declares {entry.size} bytes for shape {entry.shape} of {dtype.itemsize} bytes each"
                )
            data = self._read(entry)
            if masked_crc32c(data) != entry.checksum:
                raise BrokenError("the checksum is wrong: the data file is damaged, or another's")
            values = np.frombuffer(data, dtype=dtype).reshape(entry.shape)
            if entry.dtype == _BFLOAT16:
                return (values.astype(np.uint32) << 16).view(np.float32)
            if dtype.kind == "f":
                with np.errstate(over="ignore"):
                    return values.astype(np.float32)
            return values.astype(dtype.newbyteorder("="))

    def text(self, key: str) -> bytes:
        """The bytes of a tensor that is a single string."""
        entry = self.entry(key)
        with converted(f"{self.title}, {printable(key)!r}"):
            if entry.dtype != _STRING or entry.count != 1:
                raise BrokenError("expected a single string")
            data = self._read(entry)
            length, start = varint(data, 0)
            if length != len(data) - start - 4:
                raise BrokenError("a string of another length than its tensor")
            # The checksum covers the lengths as fixed numbers, their own checksum, and the text.
            fixed = length.to_bytes(4 if length < 1 << 32 else 8, "little")
            lengths = data[start : start + 4]
            if int.from_bytes(lengths, "little") != masked_crc32c(fixed):
                raise BrokenError("the checksum of its length is wrong: the data file is damaged")
            if masked_crc32c(fixed + lengths + data[start + 4 :]) != entry.checksum:
                raise BrokenError("the checksum is wrong: the data file is damaged, or another's")
            return data[start + 4 :]

    def _read(self, entry: Entry) -> bytes:
        name = self._data_file(entry.shard)
        if entry.offset + entry.size > self._sizes[entry.shard]:
            raise BrokenError(
                f"{entry.size} bytes at {entry.offset} of {printable(name)!r}, "
                f"which has {self._sizes[entry.shard]}"
            )
        self._allowance -= entry.size
        if self._allowance < 0:
            raise BrokenError(f"what is read exceeds {EXPANSION} times the size of the data files")
        with self._files.open(name) as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
        if len(data) != entry.size:
            raise BrokenError(f"{printable(name)!r} ends early")
        return data

    def _data_file(self, shard: int) -> str:
        name = f"{self._prefix}.data-{shard:05d}-of-{self._shards:05d}"
        if shard not in self._sizes:
            size = self._files.size(name)
            if size is None:
                raise BrokenError(f"its data file {printable(name)!r} is missing")
            with self._files.open(name) as file:
                refuse_pointer(file.read(64), printable(name))
            self._sizes[shard] = size
            self._allowance += EXPANSION * size
        return name


def _shard_count(header: bytes) -> int:
    """BundleHeaderProto: how many data files there are."""
    count, order = 0, 0
    for key, value in fields(header, Budget()):
        if key == 1:
            count = number(value)
        elif key == 2:
            order = number(value)
    if order != 0:
        raise BrokenError("written on a big-endian machine, which is not supported")
    if not 1 <= count <= _SHARDS:
        raise BrokenError(f"declares {count} data files (1 to {_SHARDS})")
    return count


def _entry(data: bytes, shards: int) -> Entry:
    """BundleEntryProto. What is 0 is absent."""
    dtype = shard = offset = size = checksum = 0
    shape: tuple[int, ...] = ()
    budget = Budget()
    for key, value in fields(data, budget):
        if key == 1:
            dtype = number(value)
        elif key == 2:
            shape = _shape(message(value), budget)
        elif key == 3:
            shard = number(value)
        elif key == 4:
            offset = number(value)
        elif key == 5:
            size = number(value)
        elif key == 6:
            checksum = number(value)
        elif key == 7:
            raise BrokenError("a partitioned variable (old parameter servers), which is not supported")
    if shard >= shards:
        raise BrokenError(f"lies in data file {shard} of {shards}")
    return Entry(dtype, shape, shard, offset, size, checksum)


def _shape(data: bytes | memoryview, budget: Budget) -> tuple[int, ...]:
    """TensorShapeProto."""
    sizes = []
    for key, value in fields(data, budget):
        if key == 3 and number(value):
            raise BrokenError("a tensor of unknown rank")
        if key == 2:
            size = 0
            for inner, found in fields(message(value), budget):
                if inner == 1:
                    size = signed(found)
            sizes.append(size)
    if len(sizes) > _RANK or any(not 0 <= size < 1 << 40 for size in sizes):
        raise BrokenError(f"of the shape {sizes[:_RANK]}")
    return tuple(sizes)
