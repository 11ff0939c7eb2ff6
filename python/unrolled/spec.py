# SPDX-License-Identifier: MIT
"""The one description of a model that every file format is read into. Plain data, Keras 3's vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from unrolled.semantics import KERAS_3, Semantics


@dataclass(frozen=True)
class TensorReference:
    """A tensor of a graph: output ``index`` (flattened) of call ``node`` of the layer named ``layer``.

    Nodes count the calls of that layer inside its own model from 0, whatever the file's version counts.
    """

    layer: str
    node: int
    index: int


@dataclass(frozen=True)
class UnsupportedValue:
    """Stands in a config for a value that is never decoded (``__lambda__``, a custom function).

    Parameters
    ----------
    description : str
        For people.
    name : str
        The name of the function, where it has one.
    """

    description: str
    name: str = ""


@dataclass(frozen=True)
class LayerFacts:
    """What readers and writers of files must know of a layer class, which says it itself.

    Parameters
    ----------
    inner_layers : tuple of str
        Config keys that hold a layer, or a list of layers.
    takes_states : bool
        Calls in Keras 2's graphs may list initial states after the sequence.
    declares_input_inside : bool
        The layer inside may declare the input of this one.
    recurrent_activation : {"", "gated", "convolutional"}
        Which default its config means where it does not say one, see ``Writer``.
    has_reset_after : bool
        Its config may lack ``reset_after``, of which the default changed.
    gates : int
        Of a cell: Keras 1 stores an array for each of so many gates, and CuDNN transposes them one by one.
    theano_flips : int
        So many variables, from the first on, were applied with reversed spatial axes by Theano
        (true convolution): keras 2.3 engine/saving.py, conv_layers.
    theano_orders : bool
        Keras 1 on Theano stores the kernel as (out, in, window...).
    unused_arrays : mapping
        Numbers of arrays that Keras stores after the variables and inference does not use, to their shapes.
    """

    inner_layers: tuple[str, ...] = ()
    takes_states: bool = False
    declares_input_inside: bool = False
    recurrent_activation: Literal["", "gated", "convolutional"] = ""
    has_reset_after: bool = False
    gates: int = 0
    theano_flips: int = 0
    theano_orders: bool = False
    unused_arrays: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


_FACTS: dict[str, LayerFacts] = {}
_NO_FACTS = LayerFacts()


def set_facts(class_name: str, facts: LayerFacts) -> None:
    """Say the facts of a class; registering a layer does."""
    _FACTS[class_name] = facts


def facts_of(class_name: str) -> LayerFacts:
    """The facts of a class, by Keras 3's name; none of classes that are not known."""
    return _FACTS.get(class_name, _NO_FACTS)


def inner_layer_keys() -> frozenset[str]:
    """Config keys under which some class holds layers; classes that are not known may hold them there, too."""
    return frozenset(key for facts in _FACTS.values() for key in facts.inner_layers)


@dataclass
class NodeSpec:
    """One call of a layer: trees of plain values whose tensors are ``TensorReference``."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass
class LayerSpec:
    """A layer of a file.

    Parameters
    ----------
    class_name : str
        Keras 3's class name (an operation of a Keras 3 graph has its class name, such as "NotEqual").
    name : str
        The layer's name.
    config : dict
        Keras 3 keys. Layers inside (``layer``, ``backward_layer``, ``cell``, ``cells``, a layer given as
        an activation) are ``LayerSpec``; ``dtype`` is a plain string; arrays are ndarrays; a value that
        must not be decoded is ``UnsupportedValue``.
    nodes : list of NodeSpec
        Its calls in a graph; empty in a Sequential model.
    model : ModelSpec, optional
        The nested model, where this layer is one.
    origin : str
        "keras"; "keras.ops" for an operation of a graph, whose class may share a layer's name (Add,
        Concatenate, ...); or where a class that is not Keras's own says it comes from.

    Notes
    -----
    One object in two places inside configs (a cell that two layers share) is one layer.
    """

    class_name: str
    name: str
    config: dict[str, Any]
    nodes: list[NodeSpec] = field(default_factory=list)
    model: ModelSpec | None = None
    origin: str = "keras"


@dataclass
class ModelSpec:
    """A Sequential or Functional model; ``inputs`` and ``outputs`` are trees of ``TensorReference``."""

    kind: Literal["Sequential", "Functional"]
    name: str
    layers: list[LayerSpec]
    inputs: Any = None
    outputs: Any = None
    build_input_shape: tuple[int | None, ...] | None = None


class VariableLike(Protocol):
    """One weight array that a file may fill."""

    @property
    def name(self) -> str:
        """Keras's name of the variable: "kernel", "recurrent_kernel", "moving_mean", ..."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def trainable(self) -> bool: ...

    def assign_together(self, pairs: list[tuple[Any, NDArray[Any]]]) -> None:
        """Give this and other variables their values, all at one moment."""


class WeightedObject(Protocol):
    """What a weight reader needs to know of a layer, cell or model, without importing them.

    ``own_variables`` are in creation order, trainable ones first. ``tracked`` maps Keras's attribute names
    to the objects below, in Keras's order: {"cell": ...}, {"forward_layer": ..., "backward_layer": ...},
    {"layer": ...}, {"cells": [...]}, {"layers": [...]} for models (operations of graphs are no layers).
    """

    @property
    def name(self) -> str: ...

    @property
    def class_name(self) -> str: ...

    @property
    def trainable(self) -> bool: ...

    @property
    def own_variables(self) -> list[Any]: ...

    @property
    def tracked(self) -> dict[str, Any]: ...


class WeightSource(Protocol):
    """The weights of a file, not yet read."""

    def load_into(self, model: WeightedObject) -> None:
        """Assign every variable below ``model``.

        Raises
        ------
        ModelFileError
            A variable is missing, left over or of another shape; nothing is assigned then.
        """

    def arrays_of(self, name: str, class_name: str, number: int) -> list[tuple[str, NDArray[Any]]]:
        """All arrays of one layer, each with a name, for a layer that only the user knows.

        Parameters
        ----------
        name, class_name : str
            Of the layer.
        number : int
            How many such layers of this class come before it.
        """


@dataclass
class ModelFile:
    """A model file that has been read: what it describes, its weights, and who wrote it."""

    spec: ModelSpec
    weights: WeightSource | None
    format: str  # ".keras", "whole .h5", "JSON + weights", ...
    keras_version: str  # as the file says; "1.x" where a Keras 1 file says nothing
    semantics: Semantics = KERAS_3
