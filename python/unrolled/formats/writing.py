# SPDX-License-Identifier: MIT
"""Writing `.keras` files as Keras 3 does: config, weights by the tree of objects, and who wrote them.

Source: keras 3.15 ``saving/saving_lib.py``.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ModelFileError
from unrolled.files import replacing
from unrolled.formats.hdf5.writing import Group, write_hdf5
from unrolled.formats.weights.tree import object_paths, stored_order
from unrolled.spec import WeightedObject, facts_of

# The version whose layout and rules the files have.
WRITTEN_VERSION = "3.15.1"


def write_keras(
    path: Path,
    config: Mapping[str, Any],
    model: WeightedObject,
    values: Mapping[int, NDArray[Any]],
    class_names: Mapping[int, str],
) -> None:
    """Write a model in Keras 3's format.

    Parameters
    ----------
    path : Path
        The file, replaced where it exists.
    config : mapping
        ``config.json``.
    model : WeightedObject
        Whose variables are written.
    values : mapping
        By id of a variable, what is written instead of its value.
    class_names : mapping
        By id of an object, the class that the config has for it.

    Raises
    ------
    OSError
        The file cannot be written; there is no half of it then.
    ModelFileError
        The config holds what JSON cannot say.
    """
    try:
        text = json.dumps(config, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"the model's config cannot be written as JSON: {error}") from error
    metadata = {"keras_version": WRITTEN_VERSION, "date_saved": datetime.now().strftime("%Y-%m-%d@%H:%M:%S")}
    try:
        weights = _weights(model, values, class_names)
    except ValueError as error:  # names that are no text (lone surrogates) or too long, a dtype
        raise ModelFileError(f"the model's weights cannot be written as HDF5: {error}") from error
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", weights)


def write_weights(path: Path, model: WeightedObject) -> None:
    """Write the weights of a model as Keras 3's ``save_weights`` does.

    Raises
    ------
    OSError
        The file cannot be written; there is no half of it then.
    ModelFileError
        A name is no text, or too long.
    """
    try:
        weights = _weights(model, {}, {})
    except ValueError as error:
        raise ModelFileError(f"the model's weights cannot be written as HDF5: {error}") from error
    with replacing(path) as file:
        file.write(weights)


def _weights(
    model: WeightedObject, values: Mapping[int, NDArray[Any]], class_names: Mapping[int, str]
) -> bytes:
    """The HDF5 file of the variables."""
    root = Group()
    root.at("layers")
    for found, path in object_paths(model, class_names):
        variables = stored_order(found.own_variables)
        if not variables:
            continue
        group = root.at(*path, "vars")
        group.attributes["name"] = found.name
        for number, variable in enumerate(variables):
            group.children[str(number)] = values.get(id(variable), variable.numpy())
        for number, shape in facts_of(found.class_name).unused_arrays.items():
            if number >= len(variables):
                group.children[str(number)] = np.zeros(shape, np.int32)
    return write_hdf5(root)
