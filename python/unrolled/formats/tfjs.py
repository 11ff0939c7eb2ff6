# SPDX-License-Identifier: MIT
"""TensorFlow.js layers models: `model.json` with the config, and the files of weights that it lists.

Formats: tfjs 4.22 tfjs-core/src/io/{types,io_utils}.ts and tfjs-layers; tensorflowjs (Python) 4.22
write_weights.py, quantization.py. Models are written by Keras 1 to 3 through the converter, and by
TensorFlow.js itself with Keras 2's names.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.errors import ModelFileError, Problem, UnsupportedModelError, printable
from unrolled.formats.archive import DiskFiles, Files, read_member
from unrolled.formats.checks import MEMBERS, OBJECTS, mapping, sequence, text
from unrolled.formats.config.json_text import parse_object
from unrolled.formats.recognition import refuse_pointer
from unrolled.formats.weights.source import Array

_DTYPES = {"float32": "<f4", "int32": "<i4", "uint8": "u1", "bool": "u1", "float16": "<f2", "uint16": "<u2"}
_QUANTIZED = {"uint8": "u1", "uint16": "<u2", "float16": "<f2"}


@dataclass(frozen=True)
class Stored:
    """A weight of the manifest.

    Parameters
    ----------
    name : str
        "lstm/lstm_cell/kernel".
    shape : tuple of int
        Its shape.
    dtype : str
        "float32", "int32", ...
    stored : numpy dtype
        What its bytes are.
    scale, offset : float or None
        Of weights that are stored as whole numbers: value = number * scale + offset.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: np.dtype[Any]
    scale: float | None = None
    offset: float = 0.0

    @property
    def size(self) -> int:
        """Its bytes in the file."""
        size = self.stored.itemsize
        for length in self.shape:
            size *= length
        return size

    def decode(self, data: bytes) -> Array:
        """Its values, float32 or integers."""
        values: Array = np.frombuffer(data, self.stored).reshape(self.shape)
        if self.scale is not None:
            values = values * np.float64(self.scale) + np.float64(self.offset)
        if self.dtype == "int32":
            return np.rint(values).astype(np.int32)
        return values.astype(np.bool_ if self.dtype == "bool" else np.float32)


@dataclass(frozen=True)
class Manifest:
    """The groups of weights: the files whose bytes in a row hold the weights in a row."""

    groups: tuple[tuple[tuple[str, ...], tuple[Stored, ...]], ...]
    files: Files

    def read(self) -> list[tuple[str, Array]]:
        """Names and values of all weights, in the order of the file."""
        found = []
        for paths, weights in self.groups:
            parts = []
            for path in paths:
                size = self.files.size(path)
                parts.append(read_member(self.files, path, size or 0))
            data = b"".join(parts)
            position = 0
            for weight in weights:
                part = data[position : position + weight.size]
                if len(part) != weight.size:
                    raise ModelFileError(f"{self.files.title}: the files of weights have become shorter")
                found.append((weight.name, weight.decode(part)))
                position += weight.size
        return found


@dataclass(frozen=True)
class Model:
    """A `model.json`: the config of a model, who wrote it, and its weights.

    Parameters
    ----------
    document : dict
        ``class_name`` and ``config``.
    version : str
        "2.15.0", or "tfjs-layers 4.22.0"; "" where the file does not say.
    manifest : Manifest or None
        None where the file has no weights.
    """

    document: dict[str, Any]
    version: str
    manifest: Manifest | None


def is_model(document: dict[str, Any]) -> bool:
    """Whether a JSON document is a `model.json` rather than a bare architecture."""
    return "modelTopology" in document or "weightsManifest" in document


def read_model(document: dict[str, Any], title: str, folder: Path | None) -> Model:
    """The model of a `model.json`.

    Parameters
    ----------
    document : dict
        The file.
    title : str
        It for error messages.
    folder : Path, optional
        Where the files of weights lie; None where only the content of `model.json` is known.

    Raises
    ------
    UnsupportedModelError
        A graph model, which has no layers.
    ModelFileError
        The file is broken, or files of weights are missing or of another size.
    """
    topology = document.get("modelTopology")
    if document.get("format") == "graph-model" or (isinstance(topology, dict) and "node" in topology):
        raise UnsupportedModelError(
            [
                Problem(
                    title,
                    "graph-model",
                    "",
                    "a TensorFlow.js graph model: a frozen graph of operations, which no longer says what its Keras "
                    "layers were",
                    "load the .keras, .h5 or SavedModel that it was converted from, or a TensorFlow.js layers model",
                )
            ]
        )
    topology = mapping(topology, f"{title}, modelTopology")
    config = topology.get("model_config", topology)
    if isinstance(config, str):
        config = parse_object(config, f"{title}, model_config")
    version = topology.get("keras_version")
    if not isinstance(version, str):
        match = re.search(r"v(\d[\w.\-]*)", str(document.get("generatedBy", "")))
        version = match[1] if match else ""
    groups = document.get("weightsManifest")
    manifest = None if groups is None else _read_manifest(groups, title, folder)
    return Model(mapping(config, f"{title}, model_config"), version, manifest)


def _read_manifest(value: Any, title: str, folder: Path | None) -> Manifest:
    if folder is None:
        raise ModelFileError(f"{title}: the weights are in other files beside model.json; give its path")
    files = DiskFiles(folder, title)
    groups = []
    seen: set[str] = set()
    count = 0
    for number, group in enumerate(sequence(value, f"{title}, weightsManifest")):
        part = f"{title}, weightsManifest {number}"
        group = mapping(group, part)
        paths = tuple(_path(path, part) for path in sequence(group.get("paths"), f"{part}, paths"))
        weights = tuple(
            _weight(weight, part) for weight in sequence(group.get("weights"), f"{part}, weights")
        )
        count += len(weights)
        if seen & set(paths) or len(set(paths)) != len(paths):
            raise ModelFileError(f"{part}: a file that is listed twice")
        seen.update(paths)
        if len(seen) > MEMBERS or count > OBJECTS:
            raise ModelFileError(f"{title}: more than {MEMBERS} files or {OBJECTS} weights")
        sizes = [_file_size(files, path) for path in paths]
        declared = sum(weight.size for weight in weights)
        if declared != sum(sizes):
            raise ModelFileError(f"{part}: weights of {declared} bytes, files of {sum(sizes)} bytes")
        groups.append((paths, weights))
    return Manifest(tuple(groups), files)


def _path(value: Any, part: str) -> str:
    # Only files of the same folder: a path would let a file name any other of this machine.
    path = text(value, f"{part}, paths")
    if not re.fullmatch(r"[^/\\:\x00]+", path) or path in (".", ".."):
        raise ModelFileError(f"{part}: {printable(path)!r} is no name of a file beside model.json")
    return path


def _file_size(files: Files, path: str) -> int:
    size = files.size(path)
    if size is None:
        raise ModelFileError(f"{files.title}: its file {printable(path)!r} is missing")
    if size < 1024:
        with files.open(path) as file:
            refuse_pointer(file.read(64), printable(path))
    return size


def _weight(value: Any, part: str) -> Stored:
    value = mapping(value, f"{part}, weights")
    name = text(value.get("name"), f"{part}, the name of a weight")
    part = f"{part}, {printable(name)!r}"
    shape = sequence(value.get("shape"), f"{part}, shape")
    if len(shape) > 16 or any(
        not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 40 for size in shape
    ):
        raise ModelFileError(f"{part}: of the shape {printable(shape, 60)}")
    dtype = value.get("dtype")
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise ModelFileError(
            f"{part}: of the dtype {printable(dtype, 40)}, which weights of layers do not have"
        )
    quantization = value.get("quantization")
    if quantization is None:
        return Stored(name, tuple(shape), dtype, np.dtype(_DTYPES[dtype]))
    quantization = mapping(quantization, f"{part}, quantization")
    stored = quantization.get("dtype")
    if not isinstance(stored, str) or stored not in _QUANTIZED:
        raise ModelFileError(
            f"{part}: quantized as {printable(stored, 40)} (uint8, uint16 and float16 are read)"
        )
    if stored == "float16":
        return Stored(name, tuple(shape), dtype, np.dtype("<f2"))
    numbers = [quantization.get(key) for key in ("scale", "min")]
    for number in numbers:
        if not isinstance(number, int | float) or isinstance(number, bool) or not math.isfinite(number):
            raise ModelFileError(f"{part}: quantized without a finite scale and min")
    scale, offset = (float(number) for number in numbers)  # type: ignore[arg-type]
    return Stored(name, tuple(shape), dtype, np.dtype(_QUANTIZED[stored]), scale, offset)
