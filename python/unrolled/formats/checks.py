# SPDX-License-Identifier: MIT
"""Limits on what a model file may ask for, and checked access to values that came from one."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from unrolled.errors import ModelFileError, UnsupportedModelError, printable

MEBIBYTE = 1 << 20

# A JSON document: Keras's largest configs are a few MiB. Nesting bounds our own recursion; values bound
# the memory of the decoded document (about 100 bytes a value).
JSON_BYTES = 16 * MEBIBYTE
JSON_DEPTH = 128
JSON_VALUES = 1_000_000

# Layers of one file, nested models included, and calls of one layer.
LAYERS = 10_000
CALLS = 100_000

# Stored arrays lie in the file uncompressed (Keras never compresses); files that other tools compressed
# may hold this many times their size.
EXPANSION = 16
SLACK = MEBIBYTE

# Members of a zip archive, and objects of an HDF5 file (groups, datasets).
MEMBERS = 10_000
OBJECTS = 200_000
HDF5_DEPTH = 64

# Names of layers and of attributes' elements.
NAME_LENGTH = 1_024


class BrokenError(ValueError):
    """A file contradicts its format, or uses a part of it that is not read; ``converted`` says which file."""


class Converted:
    """What ``converted`` gives. A class, as a generator takes three times as long to enter and leave, which
    readers do for each object of a file."""

    __slots__ = ("_part",)

    def __init__(self, part: str | Callable[[], str]) -> None:
        self._part = part

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception) or isinstance(error, ModelFileError | UnsupportedModelError):
            return
        part = self._part if isinstance(self._part, str) else self._part()
        if isinstance(error, RecursionError):
            raise ModelFileError(f"{part}: nested too deeply") from error
        raise ModelFileError(f"{part}: {printable(error) or type(error).__name__}") from error


def converted(part: str | Callable[[], str]) -> Converted:
    """Turn whatever a library raises over a broken file into ``ModelFileError`` naming ``part``.

    zipfile, zlib, struct and json raise OSError, RuntimeError, KeyError, ValueError, TypeError and more for
    broken input, so everything is caught; the cause stays attached. A ``part`` that costs time to say is
    given as a function, called where there is an error.
    """
    return Converted(part)


def mapping(value: Any, what: str) -> dict[str, Any]:
    """``value`` if it is an object of JSON, else ``ModelFileError`` naming ``what``."""
    if not isinstance(value, dict):
        raise ModelFileError(f"{what}: expected an object, got {describe(value)}")
    return value


def sequence(value: Any, what: str) -> list[Any]:
    """``value`` as a list if it is an array of JSON, else ``ModelFileError`` naming ``what``."""
    if not isinstance(value, list | tuple):
        raise ModelFileError(f"{what}: expected a list, got {describe(value)}")
    return list(value)


def text(value: Any, what: str) -> str:
    """``value`` if it is a string of bearable length, else ``ModelFileError`` naming ``what``."""
    if not isinstance(value, str):
        raise ModelFileError(f"{what}: expected a string, got {describe(value)}")
    if len(value) > NAME_LENGTH:
        raise ModelFileError(f"{what}: a string of {len(value)} characters (at most {NAME_LENGTH})")
    return value


def index(value: Any, what: str) -> int:
    """``value`` if it is a small natural number, else ``ModelFileError`` naming ``what``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
        raise ModelFileError(f"{what}: expected an index, got {describe(value)}")
    return value


def shape(value: Any, what: str) -> tuple[int | None, ...]:
    """``value`` as a shape with ``None`` for unknown sizes, else ``ModelFileError`` naming ``what``."""
    sizes = sequence(value, what)
    for size in sizes:
        if size is not None:
            index(size, what)
    if len(sizes) > 16:
        raise ModelFileError(f"{what}: a shape of {len(sizes)} axes (at most 16)")
    return tuple(sizes)


def describe(value: Any) -> str:
    """A value of a file for an error message: its kind, and the start of its text."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "nothing"}
    return f"{names.get(type(value), 'a ' + type(value).__name__)} ({printable(repr(value)[:100], 60)})"
