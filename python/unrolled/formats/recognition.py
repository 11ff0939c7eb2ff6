# SPDX-License-Identifier: MIT
"""What a file or folder is, told by its content: the one place that decides which reader gets it."""

from __future__ import annotations

import errno
import io
import os
import re
import zipfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from unrolled.errors import ModelFileError, printable
from unrolled.formats.archive import open_content, regular_size, size_of
from unrolled.formats.checks import BrokenError, converted
from unrolled.formats.hdf5.structures import hdf5_offset
from unrolled.formats.tensorbundle.wire import Budget, file_fields

_ZIP = b"PK\x03\x04"
_EMPTY_ZIP = b"PK\x05\x06"
_LFS = b"version https://git-lfs"
_START = 4096


class Kind(Enum):
    """The kinds of files that have a reader."""

    KERAS_ARCHIVE = ".keras"
    KERAS_FOLDER = ".keras folder"
    HDF5 = ".h5"
    JSON = "JSON"
    SAVED_MODEL = "SavedModel folder"
    CHECKPOINT = "TensorFlow checkpoint"
    TFJS = "TensorFlow.js model"
    PICKLE = "pickle"


@dataclass(frozen=True)
class Source:
    """A file or folder to read, or the content of a file.

    Parameters
    ----------
    kind : Kind
        Which reader it is for.
    content : Path or bytes
        Where it is, or what it holds. Of a checkpoint: the common start of its files' names; of a
        TensorFlow.js model: its `model.json`.
    title : str
        It for error messages.
    """

    kind: Kind
    content: Path | bytes
    title: str

    @property
    def path(self) -> Path:
        """Where it is; ``ModelFileError`` where only its content is known and other files belong to it."""
        if isinstance(self.content, bytes):
            raise ModelFileError(f"{self.title}: other files belong to a {self.kind.value}; give its path")
        return self.content


def recognise(content: Path | bytes, title: str | None = None) -> Source:
    """The kind of a file, folder or content.

    Raises
    ------
    FileNotFoundError
        No such file.
    ModelFileError
        No kind that has a reader; what it is instead is said where that can be told.
    """
    if isinstance(content, bytes):
        title = printable(title or "the given bytes")
        return Source(_file_kind(content, title), content, title)
    title = printable(content.name)
    if content.is_dir():
        return _recognise_folder(content, title)
    if not content.exists():
        return _recognise_prefix(content, title)
    regular_size(content)
    for pattern in (r"(.+)\.index", r"(.+)\.data-\d{5,}-of-\d{5,}"):
        match = re.fullmatch(pattern, content.name, re.DOTALL)
        if match is not None and content.with_name(f"{match[1]}.index").exists():
            prefix = content.with_name(match[1])
            return Source(Kind.CHECKPOINT, prefix, printable(prefix.name))
    if content.name == "saved_model.pb":
        return Source(Kind.SAVED_MODEL, content.parent, printable(content.parent.name))
    if content.name == "checkpoint":
        start = _read(content, _START)
        if start.startswith(b"model_checkpoint_path:"):
            return _recognise_folder(content.parent, title)
    return Source(_file_kind(content, title), content, title)


def refuse_pointer(start: bytes, title: str) -> None:
    """``ModelFileError`` where a file is what Git LFS leaves in place of one that was not fetched."""
    if start.startswith(_LFS):
        raise ModelFileError(
            f"{title}: a Git LFS pointer, not the file itself; fetch it with `git lfs pull`, or download it from "
            "the repository's page"
        )


def _recognise_folder(folder: Path, title: str) -> Source:
    if (folder / "saved_model.pb").is_file() or (folder / "saved_model.pbtxt").is_file():
        return Source(Kind.SAVED_MODEL, folder, title)
    if (folder / "config.json").is_file() and (folder / "model.weights.h5").is_file():
        return Source(Kind.KERAS_FOLDER, folder, title)
    if (folder / "model.json").is_file():
        return Source(Kind.TFJS, folder / "model.json", title)
    if (folder / "checkpoint").is_file():
        name = _latest(folder / "checkpoint")
        return Source(Kind.CHECKPOINT, folder / name, printable(name))
    prefixes = sorted(path.name.removesuffix(".index") for path in folder.glob("*.index"))
    if prefixes:
        named = ", ".join(repr(printable(name, 60)) for name in prefixes[:6])
        raise ModelFileError(f"{title}: a folder of TensorFlow checkpoints; give one of them: {named}")
    if (folder / "config.json").is_file() or (folder / "metadata.json").is_file():
        return Source(Kind.KERAS_FOLDER, folder, title)
    raise ModelFileError(
        f"{title}: a folder, but neither a SavedModel, nor an unzipped .keras, nor a TensorFlow.js model, nor "
        "checkpoints"
    )


def _recognise_prefix(path: Path, title: str) -> Source:
    """A checkpoint is named by what its files' names start with."""
    if path.with_name(f"{path.name}.index").exists():
        return Source(Kind.CHECKPOINT, path, title)
    data = (
        path.parent.glob(re.sub(r"([*?[])", r"[\1]", path.name) + ".data-*") if path.parent.is_dir() else ()
    )
    if any(True for _ in data):
        raise ModelFileError(f"{title}: a checkpoint whose index file {title + '.index'!r} is missing")
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _latest(path: Path) -> str:
    """The checkpoint that the text file `checkpoint` names; of an author's absolute path its last part."""
    title = printable(path.name)
    start = _read(path, 1 << 16)
    refuse_pointer(start, title)
    match = re.search(rb'^model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', start, re.MULTILINE)
    if match is None:
        raise ModelFileError(f"{title}: names no checkpoint")
    name = re.split(r"[/\\]", match[1].decode("utf-8", "surrogateescape"))[-1]
    if name in ("", ".", "..") or "\0" in name:
        raise ModelFileError(f"{title}: names no checkpoint")
    return name


def _read(content: Path | bytes, count: int) -> bytes:
    with open_content(content) as file:
        return file.read(count)


def _file_kind(content: Path | bytes, title: str) -> Kind:
    start = _read(content, _START)
    refuse_pointer(start, title)
    if hdf5_offset(content, start) is not None:
        return Kind.HDF5
    if start.startswith((_ZIP, _EMPTY_ZIP)):
        _check_archive(content, title)
        return Kind.KERAS_ARCHIVE
    if start.lstrip().startswith((b"{", b"\xef\xbb\xbf{")):
        return Kind.JSON
    other = _other_format(start, content)
    if other is not None:
        raise ModelFileError(f"{title}: {other}")
    if _looks_pickled(start):
        return Kind.PICKLE
    hint = "; the file is empty" if not start else ""
    if start and isinstance(content, bytes) and len(content) < 1024 and content.isascii():
        hint = "; bytes are the content of a file: give its name as text or pathlib.Path"
    raise ModelFileError(
        f"{title}: neither a zip archive (.keras), nor HDF5 (.h5), nor a JSON object, nor another format that "
        f"Keras models are kept in{hint}"
    )


def _looks_pickled(start: bytes) -> bool:
    """Protocols 2 to 5 of pickle, or a compression that joblib puts around them."""
    if len(start) > 2 and start[0] == 0x80 and 2 <= start[1] <= 5:
        return True
    return is_compressed(start)


def is_compressed(start: bytes) -> bool:
    """Whether a file starts as zlib, gzip, bzip2, xz or lzma do."""
    is_zlib = len(start) > 2 and start[0] == 0x78 and (start[0] << 8 | start[1]) % 31 == 0
    return is_zlib or start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"]\x00\x00"))


def _check_archive(content: Path | bytes, title: str) -> None:
    """``ModelFileError`` that says what a zip archive without a Keras model is."""
    with converted(f"{title}: broken zip archive, such as a download that was cut short"):
        with zipfile.ZipFile(io.BytesIO(content) if isinstance(content, bytes) else content) as archive:
            names = archive.namelist()
        if len(names) > 100_000:
            raise BrokenError(f"{len(names)} members")
        if "config.json" in names or "model.weights.h5" in names:
            return
        inner = next((name for name in names if name.endswith((".keras", ".h5", "saved_model.pb"))), None)
        if any(name.endswith(("/data.pkl", "constants.pkl")) or name == "data.pkl" for name in names):
            found = "a PyTorch file, which holds no Keras model"
        elif inner is not None:
            found = f"a zip archive with {printable(inner)!r} in it; unpack it and load that"
        elif names and all(name.endswith(".npy") for name in names):
            found = "a NumPy archive of arrays (.npz), which says nothing of layers"
        else:
            listed = ", ".join(repr(printable(name, 40)) for name in names[:4]) or "nothing"
            found = f"a zip archive that is no Keras model: it has no 'config.json' but {listed}"
    raise ModelFileError(f"{title}: {found}")


def _other_format(start: bytes, content: Path | bytes) -> str | None:
    """What a file of another tool is and what to do instead, or None."""
    if start[4:8] == b"TFL3":
        return (
            "a TensorFlow Lite model, which no longer says what its Keras layers were; load the .keras, .h5 or "
            "SavedModel that it was converted from"
        )
    if start.startswith(b"\x93NUMPY"):
        return "a NumPy array (.npy), which says nothing of layers"
    if start[:1] == b"\x0a" and _is_graph_def(start):
        return (
            "a frozen TensorFlow graph (GraphDef), which no longer says what its Keras layers were; load the .keras, "
            ".h5 or SavedModel that it was made from"
        )
    if start[:1] == b"\x08" and _is_onnx(content):
        return "an ONNX model, which no longer says what its Keras layers were; load the file it was converted from"
    if start[:2] == b"\x08\x01" and b"\x12" in start[2:3]:
        return "a SavedModel's saved_model.pb; give the folder that it belongs in, with its variables"
    if start.lstrip()[:1] == b"<":
        return "this is a web page: download the file itself (on GitHub or Hugging Face its raw form)"
    return None


def _is_graph_def(start: bytes) -> bool:
    """GraphDef is a list of nodes, each of which begins with a name and an operation."""
    return (
        re.match(rb"\x0a[\x80-\xff]{0,4}[\x00-\x7f]\x0a[\x80-\xff]?[\x01-\x7f][\w./\-]+\x12.[A-Z]\w+", start)
        is not None
    )


def _is_onnx(content: Path | bytes) -> bool:
    """ModelProto: the version of ONNX, who made it, and the graph as field 7."""
    try:
        with open_content(content) as file:
            numbers = {number for number, _, _ in file_fields(file, 0, size_of(content), Budget(1000))}
    except BrokenError:
        return False
    return 7 in numbers
