# SPDX-License-Identifier: MIT
"""Reading of Keras model files of every version and layout into the description of ``unrolled.spec``.

A file is data: nothing in it is executed or imported, what it declares is checked before anything is
allocated, and whatever is wrong with it is a ``ModelFileError``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from unrolled.formats.reading import (
    read_architecture,
    read_model_file,
    read_serialized,
    read_weights_file,
)
from unrolled.spec import ModelFile, ModelSpec, WeightSource

__all__ = ["read_config", "read_json", "read_model", "read_weights"]


def read_model(path: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> ModelFile:
    """Read a model file.

    Parameters
    ----------
    path : path
        A `.keras` file or the folder of an unzipped one, a whole `.h5`, or a JSON architecture; what it is
        is told by its content.
    weights : path, optional
        With a JSON architecture: a weights-only file (either layout, or a sharded `.weights.json`), or any
        file above, whose weights are used.

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

    Notes
    -----
    Formats: keras 3.15 ``saving/saving_lib.py``, ``legacy/saving/legacy_h5_format.py``; tf_keras 2.21;
    keras 1.2 and 2.x ``engine/topology.py`` and ``engine/saving.py``.
    """
    return read_model_file(Path(path), None if weights is None else Path(weights))


def read_weights(path: str | os.PathLike[str]) -> WeightSource:
    """Read the weights of a file, for a model that exists already.

    Parameters
    ----------
    path : path
        A weights-only `.h5` of either layout, a sharded `.weights.json`, or a model file.

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
    return read_weights_file(Path(path))


def read_json(document: str) -> ModelFile:
    """Read the architecture that Keras's ``to_json`` gives; without weights. Raises as ``read_model``."""
    return read_architecture(document)


def read_config(serialized: dict[str, Any]) -> ModelSpec:
    """Read a serialised model of today's Keras, JSON values in a dict. Raises as ``read_model``."""
    return read_serialized(serialized)
