# SPDX-License-Identifier: MIT
"""Reading of Keras model files of every version and layout into the description of ``unrolled.spec``.

A file is data: nothing in it is executed or imported, what it declares is checked before anything is
allocated, and whatever is wrong with it is a ``ModelFileError``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO, Literal

from unrolled.formats.hdf5 import HDF5File
from unrolled.formats.hub import SCHEME, download
from unrolled.formats.reading import OpenHDF5, Reader, read_architecture, read_serialized
from unrolled.spec import ModelFile, ModelSpec, WeightSource

__all__ = ["FileLike", "HDF5Reader", "read_config", "read_json", "read_model", "read_weights"]

# What a model or weights can be given as: a path, the content of a file, or a binary file open for reading.
FileLike = str | os.PathLike[str] | bytes | BinaryIO
HDF5Reader = Literal["builtin", "h5py"]


def read_model(path: FileLike, weights: FileLike | None = None, hdf5: HDF5Reader = "builtin") -> ModelFile:
    """Read a model file.

    Parameters
    ----------
    path : path-like, bytes or binary file
        A `.keras` file or the folder of an unzipped one, a whole `.h5`, a JSON architecture, a SavedModel
        folder, a TensorFlow checkpoint that carries its architecture, a TensorFlow.js `model.json` or its
        folder, a pickle or joblib file of a Keras model; what it is is told by its content. Text that starts
        with ``hf://`` names a model on the Hugging Face Hub. Bytes are the content of a file.
    weights : path-like, bytes or binary file, optional
        With a JSON architecture: a weights-only file (either layout, or a sharded `.weights.json`), a
        checkpoint, an exported SavedModel, or any file above, whose weights are used.
    hdf5 : {"builtin", "h5py"}
        What reads HDF5 files.

    Returns
    -------
    ModelFile
        The normalised description, the weights (not yet read) and the rules of the writer's version.

    Raises
    ------
    FileNotFoundError
        No such file.
    ModelFileError
        Broken, hostile or no Keras model; the message names the part.
    UnsupportedModelError
        The model itself is of a class that is code (a subclass of Model); unsupported layers are left to
        the builder, which reports all of them.
    ImportError
        ``hf://`` without huggingface_hub, or ``hdf5="h5py"`` without h5py.

    Notes
    -----
    Formats: keras 3.15 ``saving/saving_lib.py``, ``legacy/saving/legacy_h5_format.py``; tf_keras 2.21;
    keras 1.2 and 2.x ``engine/topology.py`` and ``engine/saving.py``; for others see their readers.
    """
    reader = Reader(_opener(hdf5))
    source = None if weights is None else reader.read_weights(*_content(weights))
    return reader.read_model(*_content(path), source)


def read_weights(path: FileLike, hdf5: HDF5Reader = "builtin") -> WeightSource:
    """Read the weights of a file, for a model that exists already.

    Parameters
    ----------
    path : path-like, bytes or binary file
        A weights-only `.h5` of either layout, a sharded `.weights.json`, a TensorFlow checkpoint (the common
        start of its files' names, or its folder), an exported SavedModel, or a model file.
    hdf5 : {"builtin", "h5py"}
        What reads HDF5 files.

    Returns
    -------
    WeightSource
        Checked and assigned by ``load_into``. Layers are matched by order, as Keras does.

    Raises
    ------
    FileNotFoundError
        No such file.
    ModelFileError
        Broken, hostile or without weights of a Keras model.
    """
    return Reader(_opener(hdf5)).read_weights(*_content(path))


def read_json(document: str) -> ModelFile:
    """Read the architecture that Keras's ``to_json`` gives; without weights. Raises as ``read_model``."""
    return read_architecture(document)


def read_config(serialized: dict[str, Any]) -> ModelSpec:
    """Read a serialised model of today's Keras, JSON values in a dict. Raises as ``read_model``."""
    return read_serialized(serialized)


def _opener(hdf5: str) -> OpenHDF5:
    if hdf5 == "builtin":
        return HDF5File
    if hdf5 != "h5py":
        raise ValueError(f"hdf5: expected 'builtin' or 'h5py', got {hdf5!r}")
    from unrolled.formats.hdf5.library import open_with_h5py

    return open_with_h5py


def _content(given: Any) -> tuple[Path | bytes, str | None]:
    """A path, or the content of a file with its name."""
    if isinstance(given, str) and given.startswith(SCHEME):
        return download(given), None
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given), None
    if hasattr(given, "read"):
        data = given.read()
        if not isinstance(data, bytes | bytearray):
            raise TypeError("expected a file open in binary mode ('rb'), got one that reads text")
        name = getattr(given, "name", None)
        return bytes(data), os.path.basename(name) if isinstance(name, str) else None
    return Path(os.fsdecode(given)), None
