# SPDX-License-Identifier: MIT
"""SavedModel folders of tf.keras 2.1 to 2.15 and tf_keras: the config, and what the folder is without one.

Formats: tensorflow/core/protobuf/{saved_model,meta_graph,saved_object_graph}.proto, tf_keras 2.21
protobuf/saved_metadata.proto. The graph of operations, nearly all of `saved_model.pb`, is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unrolled.errors import ModelFileError, Problem, UnsupportedModelError
from unrolled.formats.archive import Files, read_member
from unrolled.formats.checks import JSON_BYTES, MEBIBYTE, BrokenError, converted
from unrolled.formats.config.json_text import parse_object
from unrolled.formats.recognition import refuse_pointer
from unrolled.formats.tensorbundle.bundle import Bundle
from unrolled.formats.tensorbundle.wire import FILE_FIELDS, Budget, fields, file_fields, message, text

_OBJECTS_BYTES = 64 * MEBIBYTE
_SUBCLASSED = "_tf_keras_model"


@dataclass(frozen=True)
class SavedConfig:
    """What a SavedModel says of its Keras model.

    Parameters
    ----------
    document : dict
        ``class_name`` and ``config``, as `.h5` files have them.
    keras_version : str
        As the folder says it; "" where it does not.
    tensorflow_version : str
        The same of TensorFlow.
    """

    document: dict[str, Any]
    keras_version: str
    tensorflow_version: str


@dataclass
class _Graph:
    identifier: str = ""
    metadata: bytes = b""
    tensorflow_version: str = ""


def open_variables(files: Files) -> Bundle:
    """The checkpoint inside a SavedModel folder."""
    return Bundle(files, "variables/variables")


def read_config(files: Files) -> SavedConfig:
    """The Keras config of a SavedModel folder.

    Raises
    ------
    UnsupportedModelError
        It has none: a subclassed model, or one written by ``export()`` or ``tf.saved_model.save``.
    ModelFileError
        The folder is damaged.
    """
    graph = _find_metadata(files)
    if not graph.metadata:
        raise UnsupportedModelError([_exported(files.title)])
    root = parse_object(graph.metadata, f"{files.title}, Keras's metadata")
    class_name = root.get("class_name")
    config = root.get("config")
    name = config.get("name") if isinstance(config, dict) else root.get("name")
    model_config = root.get("model_config")
    if isinstance(model_config, dict) and model_config.get("config") is not None:
        document = dict(model_config)
    else:
        document = {"class_name": class_name, "config": config}
    has_layers = isinstance(document["config"], list) or (
        isinstance(document["config"], dict) and "layers" in document["config"]
    )
    if graph.identifier == _SUBCLASSED or not has_layers:
        raise UnsupportedModelError([_subclassed(name or files.title, class_name)])
    version = root.get("keras_version")
    document = plain(document)
    if isinstance(root.get("build_input_shape"), dict | list):
        document.setdefault("build_config", {"input_shape": plain(root["build_input_shape"])})
    return SavedConfig(document, version if isinstance(version, str) else "", graph.tensorflow_version)


def is_exported(files: Files) -> bool:
    """Whether a SavedModel folder has no Keras config."""
    return not _find_metadata(files).metadata


def plain(value: Any) -> Any:
    """The JSON of a SavedModel in the words of `.h5` files: tuples and shapes as lists."""
    if isinstance(value, list):
        return [plain(element) for element in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") in ("__tuple__", "TensorShape") and isinstance(value.get("items"), list):
        return [plain(element) for element in value["items"]]
    return {key: plain(element) for key, element in value.items()}


def _find_metadata(files: Files) -> _Graph:
    """The JSON of the root object: in `saved_model.pb` up to TensorFlow 2.5, else beside it.

    A `keras_metadata.pb` beside metadata in `saved_model.pb` may be of another model.
    """
    graph = _read_graph(files)
    if not graph.metadata and files.size("keras_metadata.pb") is not None:
        _read_keras_metadata(files, graph)
    return graph


def _read_graph(files: Files) -> _Graph:
    """SavedModel: the version of TensorFlow, and what the root object of the first graph says of itself."""
    size = files.size("saved_model.pb")
    if size is None:
        raise ModelFileError(
            f"{files.title}: a SavedModel as text (saved_model.pbtxt), which is not supported"
        )
    found = _Graph()
    budget = Budget()
    seeking = Budget(FILE_FIELDS)
    with converted(f"{files.title}/saved_model.pb: broken"), files.open("saved_model.pb") as file:
        refuse_pointer(file.read(64), f"{files.title}/saved_model.pb")
        graphs = [(start, length) for key, start, length in file_fields(file, 0, size, seeking) if key == 2]
        if not graphs:
            raise BrokenError("it holds no graph")
        start, length = graphs[0]
        for key, place, extent in file_fields(file, start, start + length, seeking):
            if key not in (1, 7):
                continue  # the graph of operations, signatures and assets
            if extent > _OBJECTS_BYTES:
                raise BrokenError(f"{extent} bytes of objects (at most {_OBJECTS_BYTES})")
            file.seek(place)
            data = file.read(extent)
            if key == 1:
                for inner, value in fields(data, budget):
                    if inner == 5:
                        found.tensorflow_version = text(value)[:40]
            else:
                _read_root(data, found, budget)
    return found


def _read_root(data: bytes, found: _Graph, budget: Budget) -> None:
    """SavedObjectGraph: identifier and metadata of its first node."""
    for key, value in fields(data, budget):
        if key != 1:
            continue
        for inner, part in fields(message(value), budget):
            if inner == 4:
                for number, field in fields(message(part), budget):
                    if number == 1:
                        found.identifier = text(field)
                    elif number == 3:
                        found.metadata = bytes(message(field))
        return


def _read_keras_metadata(files: Files, found: _Graph) -> None:
    """SavedMetadata: identifier and JSON of the node "root"."""
    budget = Budget()
    data = read_member(files, "keras_metadata.pb", 4 * JSON_BYTES)
    refuse_pointer(data, f"{files.title}/keras_metadata.pb")
    with converted(f"{files.title}/keras_metadata.pb: broken"):
        for key, value in fields(data, budget):
            if key != 1:
                continue
            parts = {inner: part for inner, part in fields(message(value), budget) if inner in (3, 4, 5)}
            if text(parts.get(3, b"")) == "root":
                found.identifier = text(parts.get(4, b"")) or found.identifier
                found.metadata = bytes(message(parts.get(5, b"")))
                return


def _exported(name: str) -> Problem:
    return Problem(
        name,
        "SavedModel",
        "",
        "no Keras config: written by model.export() or tf.saved_model.save(), which keep a graph of operations "
        "instead of layers",
        "load the .keras or .h5 that it was exported from, or give this folder as weights= to the architecture "
        "in JSON",
    )


def _subclassed(name: Any, class_name: Any) -> Problem:
    return Problem(
        str(name),
        str(class_name),
        "",
        "a subclassed model: its layers are code of its author's, and it was saved without config",
        "rebuild it as a Sequential or functional model in Keras and save that",
    )
