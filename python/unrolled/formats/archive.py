# SPDX-License-Identifier: MIT
"""Members of a `.keras` file: a zip archive, or the same members in a folder. Nothing is extracted."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

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


def read_content(content: Path | bytes, limit: int, title: str) -> bytes:
    """A file, or its content, whole; ``ModelFileError`` where it has more than ``limit`` bytes."""
    if isinstance(content, Path):
        return read_file(content, limit)
    if len(content) > limit:
        raise ModelFileError(f"{title}: {len(content)} bytes (at most {limit})")
    return content


def open_content(content: Path | bytes) -> BinaryIO:
    """A file, or its content, open for reading."""
    return io.BytesIO(content) if isinstance(content, bytes) else open(content, "rb")


def size_of(content: Path | bytes) -> int:
    """The size of a regular file, or of its content, in bytes."""
    return len(content) if isinstance(content, bytes) else regular_size(content)


def contained(path: Path, folder: Path) -> bool:
    """Whether a file of a folder, links followed, lies in the folder.

    In a cache of the Hugging Face Hub files are links from `snapshots/REVISION` to `blobs` beside it.
    """
    home, target = folder.resolve(), path.resolve()
    if home in target.parents:
        return True
    parents = [home, *home.parents][:8]
    snapshots = next((parent.parent for parent in parents if parent.parent.name == "snapshots"), None)
    return snapshots is not None and target.parent == snapshots.parent / "blobs"


class Files(Protocol):
    """A folder of files that belong together, read by name."""

    title: str

    def size(self, name: str) -> int | None:
        """The size of a file in bytes; None where there is none. ``ModelFileError`` where it must not be read."""

    def open(self, name: str) -> BinaryIO:
        """A file that is there, open for reading."""


class DiskFiles:
    """Files of a folder on disk; a link that leaves the folder is refused."""

    def __init__(self, folder: Path, title: str) -> None:
        self.title = title
        self._folder = folder

    def size(self, name: str) -> int | None:
        """See ``Files.size``."""
        path = self._folder / name
        if not path.exists():
            return None
        # A link could make a stranger's folder name any file of this machine.
        if not contained(path, self._folder):
            raise ModelFileError(f"{self.title}: {printable(name)!r} is a link that leaves the folder")
        return regular_size(path)

    def open(self, name: str) -> BinaryIO:
        """See ``Files.open``."""
        return open(self._folder / name, "rb")


class MemoryFiles:
    """Files of an archive that has been read."""

    def __init__(self, members: Mapping[str, bytes], title: str) -> None:
        self.title = title
        self._members = members

    def size(self, name: str) -> int | None:
        """See ``Files.size``."""
        return len(self._members[name]) if name in self._members else None

    def open(self, name: str) -> BinaryIO:
        """See ``Files.open``."""
        return io.BytesIO(self._members[name])


def read_member(files: Files, name: str, limit: int) -> bytes:
    """A whole file of a folder, none of more than ``limit`` bytes."""
    size = files.size(name)
    if size is None:
        raise ModelFileError(f"{files.title}: its file {printable(name)!r} is missing")
    if size > limit:
        raise ModelFileError(f"{files.title}: {printable(name)!r} has {size} bytes (at most {limit})")
    with files.open(name) as file:
        return file.read(size)


class ZipArchive:
    """A zip archive whose members are looked up by exact name and checked before they are read.

    The members Keras writes are stored; deflated ones are read as well, within ``EXPANSION`` times the
    archive's size.
    """

    def __init__(self, content: Path | bytes, title: str) -> None:
        self.title = title
        self._content = content
        self._size = size_of(content)
        self._members: dict[str, zipfile.ZipInfo] = {}
        with (
            converted(f"{self.title}: broken zip archive, such as a download that was cut short"),
            open_content(content) as file,
            zipfile.ZipFile(file) as archive,
        ):
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
            open_content(self._content) as whole,
            zipfile.ZipFile(whole) as archive,
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
        if not contained(path, self._folder):
            raise ModelFileError(f"{self.title}: {name!r} is a link that leaves the folder")
        return path
