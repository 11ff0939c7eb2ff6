# SPDX-License-Identifier: MIT
"""Keras models inside pickles and joblib files, found without unpickling: nothing is imported or called.

A pickled Keras model is one bytes object among a few opcodes: a whole `.keras` archive (tf.keras 2.12 on, Keras
3), or a tar archive of a SavedModel folder (tf.keras 2.7 to 2.11, saving/pickle_utils.py). The opcodes are
passed over as data (Python's Lib/pickletools.py documents them), and exactly one such object is accepted.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from unrolled.errors import ModelFileError, printable
from unrolled.formats.archive import open_content, size_of
from unrolled.formats.checks import EXPANSION, MEMBERS, SLACK, BrokenError, converted

_OPCODES = 1_500_000
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Inside:
    """The model inside of a pickle.

    Parameters
    ----------
    data : bytes
        A `.keras` archive, or
    members : dict or None
        the files of a SavedModel folder by their names.
    """

    data: bytes
    members: dict[str, bytes] | None = None


def find_model(content: Path | bytes, title: str) -> Inside:
    """The Keras model that a pickle holds.

    Raises
    ------
    ModelFileError
        It holds none, or several, or is damaged.
    """
    with converted(f"{title}: broken pickle"):
        data = _unpacked(content)
        found: list[bytes] = []
        for value in _values(data):
            if (value.startswith(_ZIP) or value[257:262] == b"ustar") and value not in found:
                found.append(value)
    if not found:
        raise ModelFileError(
            f"{title}: a pickle without a Keras model (one that tf.keras 2.7 or later pickled); nothing in it was run"
        )
    if len(found) > 1:
        raise ModelFileError(f"{title}: a pickle of {len(found)} models; save the one you want by itself")
    if found[0].startswith(_ZIP):
        return Inside(found[0])
    with converted(f"{title}: broken archive in a pickle"):
        return Inside(b"", _tar_members(found[0]))


def _unpacked(content: Path | bytes) -> bytes:
    """The pickle, out of the compression that joblib may have put around it."""
    size = size_of(content)
    with open_content(content) as file:
        start = file.read(6)
        file.seek(0)
        if start[:1] == b"\x80":
            return file.read(size)
        limit = 8 * EXPANSION * size + SLACK
        data = _inflate(file, start, limit)
    if len(data) > limit:
        raise BrokenError(f"it holds more than {limit} bytes in {size}")
    if data[:1] != b"\x80":
        raise BrokenError("no pickle of protocol 2 or later in it")
    return data


def _inflate(file: BinaryIO, start: bytes, limit: int) -> bytes:
    if start[:1] == b"\x78":
        inflater = zlib.decompressobj()
        data = inflater.decompress(file.read(), limit + 1)
        if not inflater.eof and len(data) <= limit:
            raise BrokenError("the compressed data end early")
        return data
    if start.startswith(b"\x1f\x8b"):
        with gzip.GzipFile(fileobj=file) as unzipped:
            return unzipped.read(limit + 1)
    if start.startswith(b"BZh"):
        with bz2.BZ2File(file) as bunzipped:
            return bunzipped.read(limit + 1)
    with lzma.LZMAFile(file) as unpacked:
        return unpacked.read(limit + 1)


def _tar_members(data: bytes) -> dict[str, bytes]:
    """The files of a tar archive that lies in memory; nothing is extracted."""
    members: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            if len(members) >= MEMBERS:
                raise BrokenError(f"more than {MEMBERS} members")
            if not member.isreg():
                continue
            name = member.name.removeprefix("./")
            if name in members:
                raise BrokenError(f"member {printable(name)!r} occurs twice")
            if not 0 <= member.size <= len(data):
                raise BrokenError(f"member {printable(name)!r} declares {member.size} bytes")
            file = archive.extractfile(member)
            members[name] = b"" if file is None else file.read()
    return members


# --------------------------------------------------------------------- opcodes


def _values(data: bytes) -> Iterator[bytes]:
    """Every bytes object of a pickle; texts of protocol 2 that are bytes in Latin-1 as well."""
    position = 0
    for _ in range(_OPCODES):
        if position >= len(data):
            raise BrokenError("a pickle without an end")
        code = data[position : position + 1]
        position += 1
        if code == b".":
            return
        reader = _ARGUMENTS.get(code)
        if reader is None:
            raise BrokenError(f"the unknown opcode {code[0]} at {position - 1}")
        kind, extent = reader
        if kind == "fixed":
            position += extent
        elif kind == "lines":
            for _ in range(extent):
                end = data.find(b"\n", position)
                if end < 0:
                    raise BrokenError("a line without an end")
                position = end + 1
        else:
            if position + extent > len(data):
                raise BrokenError("an argument that runs out of the pickle")
            size = int.from_bytes(data[position : position + extent], "little")
            position += extent
            if size > len(data) - position:
                raise BrokenError("an argument that runs out of the pickle")
            if kind == "bytes":
                yield data[position : position + size]
            elif kind == "text" and data[position : position + 4] == _ZIP:
                yield data[position : position + size].decode("utf-8").encode("latin-1")
            position += size
    raise BrokenError("more opcodes than a model needs")


def _table() -> dict[bytes, tuple[str, int]]:
    table = {
        bytes([code]): ("fixed", 0)
        for code in b"(0120NtQRabdes]}lou)\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98"
    }
    table |= dict.fromkeys((b"\x80", b"h", b"q", b"K", b"\x82"), ("fixed", 1))
    table |= dict.fromkeys((b"M", b"\x83"), ("fixed", 2))
    table |= dict.fromkeys((b"J", b"j", b"r", b"\x84"), ("fixed", 4))
    table |= dict.fromkeys((b"G", b"\x95"), ("fixed", 8))
    table |= dict.fromkeys((b"F", b"I", b"L", b"P", b"S", b"V", b"g", b"p"), ("lines", 1))
    table |= dict.fromkeys((b"c", b"i"), ("lines", 2))
    table |= {b"C": ("bytes", 1), b"B": ("bytes", 4), b"\x8e": ("bytes", 8), b"\x96": ("bytes", 8)}
    table |= {b"U": ("bytes", 1), b"T": ("bytes", 4)}
    table |= {b"\x8c": ("text", 1), b"X": ("text", 4), b"\x8d": ("text", 8)}
    table |= {b"\x8a": ("number", 1), b"\x8b": ("number", 4)}
    return table


# What follows each opcode: bytes of a fixed number, lines, or a length of so many bytes and then as many bytes.
_ARGUMENTS = _table()
