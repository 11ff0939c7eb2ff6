# SPDX-License-Identifier: MIT
"""Writing of files: what was there stays whole until all of the new content is on the disk."""

from __future__ import annotations

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
# Symbolic links that are followed at most; Linux has the same limit.
_LINKS = 40


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` when the block ends without an error.

    The content is written beside the target under another name, flushed to the disk and renamed. So an
    error, Ctrl-C or a full disk leaves what was there, and no other file. A process that is killed, or a
    computer without power, leaves what was there too, and perhaps a file ``.unrolled-...`` beside it. The
    folder itself is not flushed: after a power cut the old content may be there instead of the new one.

    Parameters
    ----------
    path : path-like
        A file that exists keeps its permissions, and its owner where this user may keep it; a new one gets
        those that the umask leaves. A symbolic link stays one: what it points to is replaced. A second hard
        link keeps the old content. A pipe or a device, such as ``/dev/stdout``, cannot be replaced: it is
        written to at the end of the block, all at once.

    Yields
    ------
    file
        Binary, open for writing and seeking.

    Raises
    ------
    OSError
        The file cannot be written: no such folder, no permission to write to the file or to its folder, a
        full disk. ``filename`` is the path as it was given.
    """
    shown = os.fspath(path)
    with _naming(shown, shown):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            status = None
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), shown)
    if status is not None and (not stat.S_ISREG(status.st_mode) or _is_open_file(Path(path))):
        buffer = io.BytesIO()
        yield buffer
        with _naming(shown, shown), open(path, "wb") as stream:
            stream.write(buffer.getbuffer())
        return
    target = os.path.realpath(path)
    beside = os.path.join(os.path.dirname(target), f".unrolled-{secrets.token_hex(8)}")
    with _naming(shown, beside):
        # Renaming would not ask for it.
        effective = os.access in os.supports_effective_ids
        if status is not None and not os.access(target, os.W_OK, effective_ids=effective):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), shown)
        # Nobody but this user may read the new content before it has the permissions of the old one.
        descriptor = os.open(beside, _CREATE, 0o666 if status is None else 0o600)
        try:
            # Open for reading as well: a file that is open for writing only NumPy hands to the C library,
            # whose errors have no cause.
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if status is not None:
                _give_permissions(beside, status)
            os.replace(beside, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside)
            raise


def _give_permissions(name: str, status: os.stat_result) -> None:
    """The owner, where this user may give it away, and the mode of the old file."""
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(name, status.st_uid, status.st_gid)
    os.chmod(name, stat.S_IMODE(status.st_mode) & 0o777)


def _is_open_file(path: Path) -> bool:
    """Whether the path is a name for an open file of a process, such as /dev/stdout, however it is linked."""
    for _ in range(_LINKS):
        folder = os.path.realpath(path.parent)
        if folder.startswith("/proc/"):
            return True
        if not path.is_symlink():
            return False
        path = Path(folder) / os.readlink(path)
    return False


@contextmanager
def _naming(shown: str, written: str) -> Iterator[None]:
    """Errors of the file ``written`` name ``shown``, the path that the user knows."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, written) or error.filename == shown:
            raise
        raise OSError(error.errno, os.strerror(error.errno), shown) from error
