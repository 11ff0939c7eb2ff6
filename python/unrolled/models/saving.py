# SPDX-License-Identifier: MIT
"""Writing any model as a Keras 3 file that gives the same numbers there, or saying what Keras 3 cannot do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled import activations
from unrolled.engine import tree
from unrolled.engine.lowering import Lowering
from unrolled.engine.recording import Recorder
from unrolled.engine.variables import Variable
from unrolled.errors import Problem, UnsupportedModelError, printable
from unrolled.formats.writing import write_keras
from unrolled.layers.base import Layer
from unrolled.layers.core import Activation, Masking
from unrolled.layers.custom import PythonLayer
from unrolled.layers.registry import changing_serialized, serialize_layer
from unrolled.layers.rnn.cells import Cell, GRUCell, LSTMCell, StackedRNNCells
from unrolled.layers.rnn.conv_cells import ConvLSTMCell
from unrolled.layers.rnn.sweeping import Recurrent
from unrolled.models.base import BaseModel
from unrolled.models.keras_operations import in_keras_graph
from unrolled.models.plain import plain
from unrolled.semantics import KERAS_3

OLD, NEW = "hard_sigmoid_v2", "hard_sigmoid"
# clip(0.2 x + 0.5, 0, 1) is Keras 3's clip(y / 6 + 0.5, 0, 1) at y = 1.2 x.
SCALE = 1.2

# Config keys that say how a file came to be, and that Keras 3's layers do not take.
_NOT_KERAS_3 = frozenset({
    "time_major", "implementation", "use_cudnn", "input_length", "sparse_embedding", "input_dtype",
    "batch_input_shape", "fused", "renorm", "renorm_clipping", "renorm_momentum", "virtual_batch_size",
    "adjustment", "experimental_reset", "autocast", "sparse", "reverse_state_order", "robust_masking",
    "softmax_robust_masking", "query_shape", "key_shape", "value_shape",
})  # fmt: skip
_TRAINING_SUFFIXES = ("_regularizer", "_constraint")
_REGULARIZERS = {"L1", "L2", "L1L2", "OrthogonalRegularizer"}
_CONSTRAINTS = {"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"}


def save_model(model: BaseModel, path: str | PathLike[str], *, approximate: bool = False) -> list[str]:
    """Write a model as a Keras 3 ``.keras`` file.

    Parameters
    ----------
    model : Model
        Built.
    path : path-like
        A ``.keras`` file, replaced where it exists.
    approximate : bool
        Whether what Keras 3 cannot express is written as the nearest that it can.

    Returns
    -------
    list of str
        What was written differently: weights scaled for Keras 3's hard_sigmoid, and, with ``approximate``,
        everything whose numbers will differ.

    Raises
    ------
    UnsupportedModelError
        Keras 3 cannot express the model; ``problems`` has all reasons.
    ValueError
        ``path`` does not end in ``.keras``, or the model is not built.
    """
    target = Path(path)
    if target.suffix != ".keras":
        raise ValueError(f"expected a file name that ends in .keras, got {target.name!r}")
    model.check_built()
    writer = _Writer(model)
    config = writer.serialize()
    problems = writer.problems + ([] if approximate else writer.approximations)
    if problems:
        way_out = "" if writer.problems else " (--approximate, approximate=True: written as the nearest)"
        raise UnsupportedModelError(problems, f"Keras 3 cannot express {{things}} of the model{way_out}")
    write_keras(target, config, model, writer.values, writer.class_names)
    return [*writer.notes, *(f"approximated: {problem}" for problem in writer.approximations)]


def differing_layers(model: BaseModel) -> list[Layer]:
    """Layers that give other numbers under the rules of today's Keras than under those of their writer.

    Each layer's rules are changed alone, and the model is lowered again: where its outputs come from other
    operations, the rules matter, because a mask or a state reaches them.
    """
    groups = []
    for layer in model.walk():
        # A layer and the cells that it sweeps follow one rule.
        group = [layer, *(layer.sublayers() if isinstance(layer, Recurrent) else ())]
        if not isinstance(layer, BaseModel | Cell | StackedRNNCells) and layer.semantics != KERAS_3:
            groups.append(group)
    before = _trace(model)
    if not groups or not _differs(model, [layer for group in groups for layer in group], before):
        return []
    alone = [group[0] for group in groups if _differs(model, group, before)]
    if alone:
        return alone
    # Rules may matter only together: one layer takes a mask away, which another asks for.
    others = (
        (group, [layer for other in groups if other is not group for layer in other]) for group in groups
    )
    needed = [group[0] for group, rest in others if not _differs(model, rest, before)]
    return needed or [group[0] for group in groups]


def _differs(model: BaseModel, layers: list[Layer], before: list[bytes]) -> bool:
    """Whether the model computes something else while ``layers`` follow today's rules."""
    try:
        return _trace(model, layers) != before
    except ValueError:  # today's rules do not even lead to a result
        return True


def _trace(model: BaseModel, todays: Sequence[Layer] = ()) -> list[bytes]:
    """Hashes of how every output, and every state that is kept, is computed; ``todays`` follow today's rules."""
    rules = {id(layer): KERAS_3 for layer in todays}
    lowering = Lowering(model, rules=rules, is_trial=True, records=True)
    recorder = lowering.ops
    assert isinstance(recorder, Recorder)
    flows = [lowering.input(tensor.dtype, tensor.shape) for tensor in model.inputs]
    result = model.lower(lowering, tree.unflatten(model.input, iter(flows)))
    outputs = [flow.value for flow in tree.leaves(result)]
    return recorder.digests([*outputs, *lowering.written_states()])


class _Writer:
    """The config of a model in Keras 3's words, and what its weights must be for the same numbers."""

    def __init__(self, model: BaseModel) -> None:
        self._model = model
        self.problems: list[Problem] = []
        # Problems that --approximate ignores.
        self.approximations: list[Problem] = []
        self.notes: list[str] = []
        self.values: dict[int, NDArray[Any]] = {}
        self.class_names: dict[int, str] = {}
        self._changed: dict[int, dict[str, str]] = {}
        self._places = Counter(_places(model))
        self._has_masks = any(
            isinstance(layer, Masking)
            or getattr(layer, "mask_zero", False)
            or any(node.kwargs.get("mask") is not None for node in layer.nodes)
            for layer in model.walk()
        )
        # Users know a cell by the layer that sweeps it.
        self._names = {
            id(cell): layer.name
            for layer in model.walk()
            if isinstance(layer, Recurrent)
            for cell in layer.walk()
        }
        for layer in model.walk():
            self._check(layer)
        if not self.problems:
            for layer in differing_layers(model):
                self.approximations.append(
                    Problem(
                        layer.name,
                        layer.class_name,
                        "",
                        "the rule for masks of the Keras that wrote the file",
                        layer.old_mask_rule,
                    )
                )

    def serialize(self) -> dict[str, Any]:
        """``config.json``."""
        if self.problems:
            return {}
        with changing_serialized(self._change):
            config: dict[str, Any] = plain(serialize_layer(self._model))
            return config

    # ------------------------------------------------------------------ checks

    def _check(self, layer: Layer) -> None:
        """Note what of a layer Keras 3 cannot express, and scale weights for its hard_sigmoid."""
        if isinstance(layer, PythonLayer):
            self._problem(layer, "", "a Python function", "a file holds no functions")
        if getattr(layer, "output_mode", None) == "tf_idf":
            self._problem(
                layer, "output_mode", "'tf_idf'", "weights of tokens are not written; save in Keras"
            )
        if isinstance(layer, Recurrent) and layer.time_major:
            self._problem(layer, "time_major", "True", "Keras 3 takes the batch first")
        if isinstance(layer, BaseModel | Recurrent):
            return
        for key in ("activation", "recurrent_activation"):
            activation = getattr(layer, key, None)
            if not isinstance(activation, activations.Activation):
                continue
            if activation.function is not None:
                self._problem(layer, key, activation.name, "a file holds no functions")
            elif activation.name == OLD:
                self._old_hard_sigmoid(layer, key)

    def _problem(self, layer: Layer, key: str, found: str, supported: str) -> None:
        self.problems.append(Problem(self._name(layer), layer.class_name, key, found, supported))

    def _name(self, layer: Layer) -> str:
        return self._names.get(id(layer), layer.name)

    def _old_hard_sigmoid(self, layer: Layer, key: str) -> None:
        """Keras 2's function through Keras 3's: everything that leads into it scaled by 1.2."""
        self._changed.setdefault(id(layer), {})[key] = NEW
        if isinstance(layer, Activation):
            # No weights lead into it: a layer with two steps stands for it.
            self.class_names[id(layer)] = "Sequential"
            self.notes.append(
                f"layer {printable(layer.name)!r}: Keras 2's hard_sigmoid is written as Rescaling(1.2) and "
                "Keras 3's"
            )
            return
        parts = _leading_into(layer, key)
        if parts is None:
            self.approximations.append(
                Problem(
                    self._name(layer),
                    layer.class_name,
                    key,
                    "Keras 2's hard_sigmoid, clip(0.2 x + 0.5, 0, 1)",
                    "Keras 3 has clip(x / 6 + 0.5, 0, 1), and no weights here could make up for it",
                )
            )
            return
        for variable, columns in parts:
            array = np.array(self.values.get(id(variable), variable.numpy()))
            array[..., columns] = (array[..., columns].astype(np.float64) * SCALE).astype(np.float32)
            self.values[id(variable)] = array
        self.notes.append(
            f"layer {printable(self._name(layer))!r}: weights of {key} are scaled by 1.2, with which Keras 3's "
            "hard_sigmoid gives what Keras 2's gives"
        )

    # ------------------------------------------------------------------ config

    def _change(self, layer: Layer, serialized: dict[str, Any]) -> dict[str, Any]:
        """A serialised layer in today's words."""
        config = serialized["config"]
        if layer.is_operation:
            return layer.in_keras_3(serialized)
        config.pop("semantics", None)
        if isinstance(layer, BaseModel) and layer.graph_nodes() is not None:
            self.notes += in_keras_graph(config, has_masks=self._has_masks)
        if not isinstance(layer, BaseModel):
            serialized["config"] = config = self._clean(config)
        for changed in (layer, getattr(layer, "cell", None)):
            config |= self._changed.get(id(changed), {})
        if self._places[id(layer)] > 1:
            # One object in several places stays one.
            serialized["shared_object_id"] = id(layer)
        serialized = layer.in_keras_3(serialized)
        if self.class_names.get(id(layer)) == "Sequential" and not isinstance(layer, BaseModel):
            return _rescaled_hard_sigmoid(serialized)
        return serialized

    def _clean(self, config: dict[str, Any]) -> dict[str, Any]:
        cleaned = {}
        for key, value in config.items():
            if key in _NOT_KERAS_3:
                continue
            if key.endswith(_TRAINING_SUFFIXES) or key == "activity_regularizer":
                if value is None:
                    continue
                value = _training_object(value)
                if value is None:
                    continue
            cleaned[key] = value
        return cleaned


def _places(model: Layer) -> list[int]:
    """Ids of layers, once for every place in a config."""
    found: list[int] = []
    pending: list[Layer] = [model]
    entered: set[int] = set()
    while pending:
        layer = pending.pop()
        if id(layer) in entered:
            continue
        entered.add(id(layer))
        inner = layer.sublayers()
        found += [id(child) for child in inner]
        pending += inner
    return found


def _leading_into(layer: Layer, key: str) -> list[tuple[Variable, slice]] | None:
    """Variables, with columns, whose products alone are the argument of an activation; None where there is
    more to it."""
    own = layer.own_variables
    if isinstance(layer, ConvLSTMCell | LSTMCell):
        # Gate blocks i, f, c, o. ``activation`` also takes the cell state.
        units = layer.filters if isinstance(layer, ConvLSTMCell) else layer.units
        if key == "activation":
            return None
        return [
            (variable, slice(start * units, stop * units))
            for variable in own
            for start, stop in ((0, 2), (3, 4))
        ]
    if isinstance(layer, GRUCell):
        # Blocks z, r, h; the reset gate is a factor between the kernels and the candidate's activation.
        columns = slice(2 * layer.units, None) if key == "activation" else slice(0, 2 * layer.units)
        return [(variable, columns) for variable in own]
    if isinstance(layer, Cell):
        return [(variable, slice(None)) for variable in own]
    pointwise = [variable for variable in own if "pointwise" in variable.name]
    if pointwise:
        own = [variable for variable in own if "depthwise" not in variable.name]
    names = {variable.name for variable in own}
    if names <= {"kernel", "bias", "pointwise_kernel", "depthwise_kernel"} and not any(
        name.endswith("_scale") for name in names
    ):
        return [(variable, slice(None)) for variable in own]
    return None


def _rescaled_hard_sigmoid(serialized: dict[str, Any]) -> dict[str, Any]:
    config = serialized["config"]
    name = config["name"]

    def layer(class_name: str, **options: Any) -> dict[str, Any]:
        options = {"name": f"{name}_{class_name.lower()}", "dtype": config["dtype"]} | options
        return {
            "module": "keras.layers",
            "class_name": class_name,
            "config": options,
            "registered_name": None,
        }

    layers = [layer("Rescaling", scale=SCALE, offset=0.0), layer("Activation", activation=NEW)]
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": name, "trainable": True, "layers": layers},
        "registered_name": None,
    }


def _training_object(value: Any) -> dict[str, Any] | None:
    """A regulariser or constraint of Keras's own in Keras 3's form; None for others, which only training
    needs."""
    if not isinstance(value, Mapping) or not isinstance(value.get("config"), Mapping):
        return None
    name = value.get("class_name")
    for module, classes in (("keras.regularizers", _REGULARIZERS), ("keras.constraints", _CONSTRAINTS)):
        if name in classes:
            return {
                "module": module,
                "class_name": name,
                "config": dict(value["config"]),
                "registered_name": None,
            }
    return None
