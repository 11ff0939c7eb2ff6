# SPDX-License-Identifier: MIT
"""Members of a `.keras` file: a zip archive, or the same members in a folder. Nothing is extracted."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path
from typing import Protocol

from unrolled.errors import ModelFileError, printable
from unrolled.formats.checks import EXPANSION, JSON_BYTES, MEMBERS, SLACK, converted


class Archive(Protocol):
    """Named members, read whole."""

    @property
    def title(self) -> str:
        """The archive for error messages."""

    def __contains__(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes:
        """The bytes of a member."""


def open_archive(path: Path) -> Archive:
    """The members of the `.keras` file or folder at ``path``."""
    return FolderArchive(path) if path.is_dir() else ZipArchive(path)


def read_file(path: Path, limit: int | None = None) -> bytes:
    """Read a regular file whole.

    Raises
    ------
    ModelFileError
        No regular file (a pipe would block), or longer than ``limit`` bytes.
    FileNotFoundError
        No such file.
    """
    size = regular_size(path)
    if limit is not None and size > limit:
        raise ModelFileError(f"{printable(path.name)}: {size} bytes (at most {limit})")
    with open(path, "rb") as file:
        return file.read(size)


def regular_size(path: Path) -> int:
    """The size of a regular file in bytes; ``ModelFileError`` where it is something else."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ModelFileError(f"{printable(path.name)}: not a regular file")
    return status.st_size


class ZipArchive:
    """A zip archive whose members are looked up by exact name and checked before they are read.

    The members Keras writes are stored; deflated ones are read as well, within ``EXPANSION`` times the
    archive's size.
    """

    def __init__(self, path: Path) -> None:
        self.title = printable(path.name)
        self._path = path
        self._size = regular_size(path)
        self._members: dict[str, zipfile.ZipInfo] = {}
        broken = f"{self.title}: broken zip archive, such as a download that was cut short"
        with converted(broken), zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        if len(members) > MEMBERS:
            raise ModelFileError(f"{self.title}: {len(members)} members (at most {MEMBERS})")
        for member in members:
            if member.filename in self._members:
                raise ModelFileError(f"{self.title}: member {printable(member.filename)!r} occurs twice")
            self._members[member.filename] = member

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str) -> bytes:
        """See ``Archive.read``; ``ModelFileError`` where absent, broken or larger than allowed."""
        if name not in self._members:
            raise ModelFileError(f"{self.title}: has no member {name!r}, so it is no Keras model")
        member = self._members[name]
        part = f"{self.title}, member {name!r}"
        if member.flag_bits & 0x1:
            raise ModelFileError(f"{part}: encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ModelFileError(f"{part}: unknown compression {member.compress_type}")
        if member.compress_size > self._size:
            raise ModelFileError(f"{part}: declares {member.compress_size} bytes in a file of {self._size}")
        limit = JSON_BYTES if name.endswith(".json") else EXPANSION * self._size + SLACK
        if member.file_size > limit:
            raise ModelFileError(f"{part}: declares {member.file_size} bytes (at most {limit} here)")
        with (
            converted(f"{part}: broken"),
            zipfile.ZipFile(self._path) as archive,
            archive.open(member) as file,
        ):
            # zipfile stops at the declared size and checks the CRC there.
            data = file.read()
        if len(data) != member.file_size:
            raise ModelFileError(f"{part}: holds {len(data)} bytes, declares {member.file_size}")
        return data


class FolderArchive:
    """The same members as files of a folder (an unzipped `.keras`)."""

    def __init__(self, path: Path) -> None:
        self.title = printable(path.name)
        self._folder = path

    def __contains__(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def read(self, name: str) -> bytes:
        """See ``Archive.read``."""
        return read_file(self.member(name), JSON_BYTES if name.endswith(".json") else None)

    def member(self, name: str) -> Path:
        """The path of a member; ``ModelFileError`` where absent or a link that leaves the folder."""
        path = self._folder / name
        if not path.exists():
            raise ModelFileError(f"{self.title}: has no file {name!r}, so it is no Keras model")
        # A link could make a stranger's folder name any file of this machine.
        if self._folder.resolve() not in path.resolve().parents:
            raise ModelFileError(f"{self.title}: {name!r} is a link that leaves the folder")
        return path
