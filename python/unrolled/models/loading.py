# SPDX-License-Identifier: MIT
"""From a model file to a model: build every layer, list every problem, then fill the weights."""

from __future__ import annotations

import heapq
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from unrolled.activations import Activation
from unrolled.engine import tree
from unrolled.errors import ModelFileError, Problem, UnsupportedModelError, printable
from unrolled.layers.base import DRAWS_RANDOM_NUMBERS, Layer
from unrolled.layers.building import BuildContext, build_layer, set_model_builder
from unrolled.layers.input_layer import InputLayer
from unrolled.layers.registry import SEMANTICS, semantics_from, set_model_reader
from unrolled.layers.symbolic import KerasTensor
from unrolled.models.exported import is_plan_file, open_plan_file
from unrolled.models.functional import Functional
from unrolled.models.model import Model
from unrolled.models.plain import plain
from unrolled.models.sequential import Sequential
from unrolled.spec import LayerSpec, ModelFile, ModelSpec, TensorReference

if TYPE_CHECKING:
    from unrolled.formats import FileLike, HDF5Reader


def load_model(
    filepath: FileLike,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    *,
    weights: FileLike | None = None,
    dropout: Literal["refuse", "off"] = "refuse",
    hdf5: HDF5Reader = "builtin",
) -> Model:
    """Load a model that Keras saved; nothing in the file is executed.

    Parameters
    ----------
    filepath : path-like, bytes or binary file
        What Keras models are kept in, of Keras 1, 2, 3 and tf.keras: ``.keras`` (zip or unzipped folder), a
        whole model in ``.h5``/``.hdf5``, an architecture in ``.json``, a SavedModel folder, a TensorFlow.js
        ``model.json``, a plan file of ``Model.export``, a pickle or joblib file, a TensorFlow 1 checkpoint; or ``hf://OWNER/NAME[/FILE]`` on the
        Hugging Face Hub (extra ``hub``). Its content says which, not its name. Bytes are a file's content.
    custom_objects : mapping, optional
        Your own code in place of code that the file names and that is never run. A key is the name of a
        layer (of a Lambda, or of any layer that you want to replace), a class that is not Keras's, or an
        activation function that is not. A value is

        - a function on NumPy arrays: it gets what Keras's layer is called with, then the layer's weights in
          the file's order, and ``mask=`` where it has such a parameter; it gives an array, or a list, with
          the batch first. For an activation: array in, array of the same shape out;
        - an ``unrolled.layers.Layer`` class with a lowering of its own, made from the layer's config, or
          such a layer.

        The model runs as plans with calls of the functions in between; streams refuse functions.
    compile, safe_mode : bool
        For Keras's signature. Losses, metrics and optimizers of the file are not read, and nothing that it
        holds is ever run, whatever these say.
    weights : path-like, bytes or binary file, optional
        What belongs to a ``.json``: a weights-only file, a checkpoint (``"cp.ckpt"``, what the names of its
        files start with, or their folder), or a SavedModel that ``export()`` wrote.
    dropout : {"refuse", "off"}
        What to do about dropout that a graph calls with ``training=True``: refuse the model, or run it
        without dropout.

    hdf5 : {"builtin", "h5py"}
        What reads HDF5 files: unrolled itself, or h5py, which reads every form of them and has to be
        installed. h5py is not made for files of strangers: a broken one can hang or crash it.

    Returns
    -------
    Model
        With the numbers of the Keras version that wrote the file. Of a plan file an ``ExportedModel``, which
        has no layers.

    Raises
    ------
    UnsupportedModelError
        The model needs something unsupported; ``problems`` lists everything.
    ModelFileError
        The file is broken, and the message says which part; or it holds an architecture, and ``weights`` is
        not given.
    FileNotFoundError
        There is no such file.
    TypeError
        ``custom_objects`` is no mapping: the file of weights is named, ``weights=``.
    """
    from unrolled.formats import read_model  # zipfile and json load slowly

    if custom_objects is not None and not isinstance(custom_objects, Mapping):
        hint = ""
        if isinstance(custom_objects, str) or hasattr(custom_objects, "__fspath__"):
            hint = "; name the file of weights, load_model(path, weights=...)"
        raise TypeError(f"custom_objects: expected a dict, got {type(custom_objects).__name__}{hint}")
    if dropout not in ("refuse", "off"):
        raise ValueError(f"dropout: expected 'refuse' or 'off', got {dropout!r}")
    if is_plan_file(filepath):
        if weights is not None or custom_objects:
            raise ValueError("a plan file takes no weights or custom_objects")
        return open_plan_file(filepath)
    file = read_model(filepath, weights, hdf5)
    model = build_from_file(file, custom_objects, dropout_off=dropout == "off")
    if file.weights is None and model.count_params() > 0:
        raise ModelFileError(
            f"{_name_of(filepath)}: holds an architecture without weights, and its predictions "
            "would be random: name the file that has them, load_model(path, weights=...), or ask for fresh "
            "weights, unrolled.models.model_from_json(text)"
        )
    return model


def _name_of(given: object) -> str:
    """What was given to ``load_model``, for messages."""
    if isinstance(given, str | os.PathLike):
        return printable(os.path.basename(given))
    name = getattr(given, "name", None)
    return printable(os.path.basename(name)) if isinstance(name, str) else "the given bytes"


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Model:
    """The model that Keras's ``to_json`` describes, with fresh weights.

    Parameters
    ----------
    json_string : str
        The architecture, of any Keras version.
    custom_objects : mapping, optional
        As for ``load_model``.

    Returns
    -------
    Model
        Its weights are initial ones, as in Keras: give it others by ``load_weights`` or ``set_weights``.

    Raises
    ------
    UnsupportedModelError, ModelFileError
        As ``load_model``.

    Examples
    --------
    >>> import json, unrolled
    >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(2, 10))])
    >>> text = json.dumps({"module": "keras", "class_name": "Sequential", "config": model.get_config()})
    >>> unrolled.models.model_from_json(text).count_params()
    42
    """
    from unrolled.formats import read_json

    return build_from_file(read_json(json_string), custom_objects)


def clone_model(model: Model) -> Model:
    """A model of new layers of the same names and options, with fresh weights.

    Parameters
    ----------
    model : Model
        Stays as it is.

    Returns
    -------
    Model
        ``copy.deepcopy`` gives one with the same weights and states.

    Raises
    ------
    ValueError
        A layer is a Python function, which no config describes.
    """
    return model_from_config(model.get_config())


def model_from_config(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Model:
    """The model that ``Model.get_config`` describes, with fresh weights.

    Parameters
    ----------
    config : mapping
        Of a Sequential or a functional model.
    custom_objects : mapping, optional
        As for ``load_model``.

    Raises
    ------
    UnsupportedModelError, ModelFileError
        As ``load_model``.
    """
    from unrolled.formats import read_config

    if not isinstance(config, Mapping):
        raise ModelFileError(f"config: expected a dict, got {type(config).__name__}")
    functions: dict[str, Any] = {}
    kind = "Functional" if "input_layers" in config else "Sequential"
    serialized = {"module": "keras", "class_name": kind, "config": plain(_without_objects(config, functions))}
    context = BuildContext(semantics_from(config), custom_objects=functions | dict(custom_objects or {}))
    model = build_model(read_config(serialized), context)
    if context.problems or model is None:
        raise UnsupportedModelError(context.problems)
    model.trainable = bool(config.get("trainable", True))
    return model


def _without_objects(value: Any, functions: dict[str, Any]) -> Any:
    """A config as a file has it: names for functions, which are collected, and no rules of old versions."""
    if isinstance(value, Mapping):
        return {key: _without_objects(item, functions) for key, item in value.items() if key != SEMANTICS}
    if isinstance(value, list | tuple):
        return [_without_objects(item, functions) for item in value]
    if isinstance(value, Activation):
        functions[value.name] = value
        return value.name
    return value


def build_from_file(
    file: ModelFile, custom_objects: Mapping[str, Any] | None = None, *, dropout_off: bool = False
) -> Model:
    """The model that ``file`` describes, weights filled; options as those of ``load_model``.

    Raises
    ------
    UnsupportedModelError, ModelFileError
        As ``load_model``.
    """
    context = BuildContext(
        file.semantics, custom_objects=custom_objects or {}, dropout_off=dropout_off, weights=file.weights
    )
    model = build_model(file.spec, context)
    if context.problems or model is None:
        raise UnsupportedModelError(context.problems)
    unused = sorted(set(context.custom_objects) - context.used)
    if unused:
        raise ValueError(f"custom_objects: the file has nothing named {', '.join(map(repr, unused))}")
    model.source = file
    if not model.built:
        raise ModelFileError(
            "the file says neither the input shape of the model nor that of its first layer, "
            "so that its weights cannot be checked"
        )
    if file.weights is not None:
        file.weights.load_into(model)
    return model


def build_model(spec: ModelSpec, context: BuildContext) -> Model | None:
    """The layers and graph of ``spec`` with fresh weights; None, and ``problems``, where unsupported."""
    layers = [build_layer(layer, context) for layer in spec.layers]
    _check_training(spec, layers, context)
    built = [layer for layer in layers if layer is not None]
    if len(built) < len(layers):
        return None
    try:
        model = _sequential(spec, built) if spec.kind == "Sequential" else _functional(spec, built)
    except UnsupportedModelError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, MemoryError, AttributeError) as error:
        raise ModelFileError(
            f"model {printable(spec.name)!r}: its layers do not fit together: {error}"
        ) from error
    model.semantics = context.semantics
    return model


def _check_training(spec: ModelSpec, layers: list[Layer | None], context: BuildContext) -> None:
    """Drop ``training`` from calls that it changes nothing in, or that the user wants without dropout."""
    for layer_spec, layer in zip(spec.layers, layers, strict=True):
        for node in layer_spec.nodes:
            if not node.kwargs.pop("training", None) or layer is None:
                continue
            for inner in layer.walk():
                is_dropout = inner.training_effect == DRAWS_RANDOM_NUMBERS
                if inner.training_effect is None or (is_dropout and context.dropout_off):
                    continue
                supported = "calls with training=False are supported"
                if is_dropout:
                    supported += '; or run without dropout: load_model(..., dropout="off")'
                context.problems.append(Problem(inner.name, inner.class_name, "training", "True", supported))


def _sequential(spec: ModelSpec, layers: list[Layer]) -> Model:
    model = Sequential(layers, name=spec.name)
    if not model.built and spec.build_input_shape is not None:
        model.build(spec.build_input_shape)
    return model


def _functional(spec: ModelSpec, layers: list[Layer]) -> Model:
    """Repeat the file's calls on symbolic tensors, each as soon as what it takes is there."""
    tensors: dict[tuple[str, int], list[KerasTensor]] = {}
    calls: list[tuple[LayerSpec, Layer, int]] = []
    for layer_spec, layer in zip(spec.layers, layers, strict=True):
        if isinstance(layer, InputLayer):
            tensors[layer_spec.name, 0] = list(tree.leaves(layer.nodes[0].outputs))
        calls += [(layer_spec, layer, number) for number in range(len(layer_spec.nodes))]

    def tensor(leaf: Any) -> Any:
        if not isinstance(leaf, TensorReference):
            return leaf
        return tensors[leaf.layer, leaf.node][leaf.index]

    # The order is that of sweeps over the file, each making the calls whose tensors are there by then.
    missing: list[int] = []
    users: dict[tuple[str, int], list[int]] = {}
    ready: list[tuple[int, int]] = []
    for index, (layer_spec, _, number) in enumerate(calls):
        needed = _needed_calls(layer_spec, number) - tensors.keys()
        missing.append(len(needed))
        for key in needed:
            users.setdefault(key, []).append(index)
        if not needed:
            ready.append((0, index))
    made = 0
    while ready:
        sweep, index = heapq.heappop(ready)
        layer_spec, layer, number = calls[index]
        node = layer_spec.nodes[number]
        args, kwargs = tree.map_leaves(tensor, [list(node.args), node.kwargs])
        tensors[layer_spec.name, number] = list(tree.leaves(layer(*args, **kwargs)))
        made += 1
        for user in users.pop((layer_spec.name, number), ()):
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, (sweep if user > index else sweep + 1, user))
    if made < len(calls):
        names = sorted({printable(calls[index][0].name) for index, count in enumerate(missing) if count})
        raise ValueError(
            f"calls of the layers {names[:10]} need tensors that nothing produces, or form a cycle"
        )
    inputs, outputs = tree.map_leaves(tensor, [spec.inputs, spec.outputs])
    return Functional(inputs, outputs, name=spec.name, layers=layers)


def _needed_calls(layer_spec: LayerSpec, number: int) -> set[tuple[str, int]]:
    """The calls, each a layer's name and a number, that must come before a call."""
    node = layer_spec.nodes[number]
    needed = {
        (leaf.layer, leaf.node)
        for leaf in tree.leaves([list(node.args), node.kwargs])
        if isinstance(leaf, TensorReference)
    }
    if number:
        needed.add((layer_spec.name, number - 1))  # calls of a shared layer are numbered in order
    return needed


def _nested_model(spec: LayerSpec, model: ModelSpec, context: BuildContext) -> Layer | None:
    return build_model(model, context)


def _nested_config(serialized: Mapping[str, Any]) -> Layer:
    return model_from_config(serialized["config"])


set_model_builder(_nested_model)
set_model_reader(_nested_config)
Model.config_reader = model_from_config
