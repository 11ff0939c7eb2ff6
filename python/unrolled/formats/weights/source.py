# SPDX-License-Identifier: MIT
"""What both weight layouts share: flattening a model, conversions of old arrays, two-phase assignment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from unrolled.errors import ModelFileError, printable
from unrolled.spec import VariableLike, WeightedObject, facts_of

Array = NDArray[Any]


class Slot(NamedTuple):
    """A variable of a model, and where it is.

    Parameters
    ----------
    variable : VariableLike
        The variable.
    owner : WeightedObject
        The layer or cell that owns it.
    names : tuple of str
        Names of the objects from below the top-level layer down to the owner.
    trainable : bool
        Whether the variable and everything above it is trainable.
    """

    variable: VariableLike
    owner: WeightedObject
    names: tuple[str, ...]
    trainable: bool


def children(found: WeightedObject) -> list[WeightedObject]:
    """The objects directly below one, in Keras's order."""
    result: list[WeightedObject] = []
    for value in found.tracked.values():
        if value is None:
            continue
        if isinstance(value, dict):
            value = list(value.values())
        result += value if isinstance(value, list | tuple) else [value]
    return result


def slots(
    found: WeightedObject, names: tuple[str, ...] = (), trainable: bool = True, seen: set[int] | None = None
) -> Iterator[Slot]:
    """All variables at and below an object, own ones first, each once."""
    seen = set() if seen is None else seen
    trainable = trainable and bool(found.trainable)
    for variable in found.own_variables:
        if id(variable) not in seen:
            seen.add(id(variable))
            yield Slot(variable, found, names, trainable and bool(variable.trainable))
    for child in children(found):
        yield from slots(child, (*names, child.name), trainable, seen)


def title(found: WeightedObject) -> str:
    """A layer for error messages."""
    return f"layer {printable(found.name)!r} ({printable(found.class_name)})"


class Assignment:
    """Values for variables, collected and checked before any is assigned."""

    def __init__(self) -> None:
        self._values: list[tuple[VariableLike, Array]] = []

    def add(self, owner: WeightedObject, variable: VariableLike, values: Array, source: object) -> None:
        """Plan one assignment; ``ModelFileError`` where the shapes differ, with ``source`` as text."""
        if tuple(values.shape) != tuple(variable.shape):
            raise ModelFileError(
                f"{title(owner)}, {variable.name}: expected shape {tuple(variable.shape)}, "
                f"got {tuple(values.shape)} from {source}"
            )
        self._values.append((variable, values))

    def add_owner(
        self,
        owner: WeightedObject,
        values: list[tuple[VariableLike, Array]],
        source: object,
        theano: bool = False,
    ) -> None:
        """Plan the assignments of one layer's own variables, converting CuDNN's and Theano's forms."""
        for variable, array in convert_owner(owner, values, theano):
            self.add(owner, variable, array, source)

    def copy(self, original: WeightedObject, copy: WeightedObject) -> None:
        """Plan for one layer what is planned for another; nothing for variables that are the same."""
        planned = {id(variable): values for variable, values in self._values}
        for source, target in zip(slots(original), slots(copy), strict=True):
            if source.variable is not target.variable and id(source.variable) in planned:
                self.add(target.owner, target.variable, planned[id(source.variable)], title(original))

    def check_complete(self, model: WeightedObject) -> None:
        """``ModelFileError`` unless every variable of the model has a value."""
        planned = {id(variable) for variable, _ in self._values}
        for slot in slots(model):
            if id(slot.variable) not in planned:
                raise ModelFileError(
                    f"{title(slot.owner)}, {slot.variable.name}: the file has no value for it"
                )

    def apply(self) -> None:
        """Assign everything at once: no call sees some old and some new values."""
        if self._values:
            self._values[0][0].assign_together(self._values)


def convert_owner(
    owner: WeightedObject, values: list[tuple[VariableLike, Array]], theano: bool = False
) -> list[tuple[VariableLike, Array]]:
    """A layer's arrays as its variables take them."""
    facts = facts_of(owner.class_name)
    if facts.gates and len(values) == 3:
        arrays = [array for _, array in values]
        expected = tuple(values[2][0].shape)
        if is_cudnn(arrays, expected):
            converted = convert_cudnn(arrays, facts.gates)
            return [(variable, array) for (variable, _), array in zip(values, converted, strict=True)]
    if theano and facts.theano_flips:
        return [
            (variable, _flip(array) if number < facts.theano_flips else array)
            for number, (variable, array) in enumerate(values)
        ]
    return values


def _flip(kernel: Array) -> Array:
    """Reverse the spatial axes of a kernel (..., in, out)."""
    return kernel[tuple(slice(None, None, -1) for _ in range(kernel.ndim - 2))] if kernel.ndim > 2 else kernel


def is_cudnn(arrays: list[Array], bias_shape: tuple[int, ...]) -> bool:
    """Whether kernel, recurrent kernel and bias are in CuDNN's form: its bias holds both halves flat."""
    bias = arrays[2]
    return bias.ndim == 1 and bias.shape != bias_shape and bias.shape[0] == 2 * bias_shape[-1]


def convert_cudnn(arrays: list[Array], gates: int) -> list[Array]:
    """CuDNN's kernel (n, g u), recurrent kernel (u, g u) and bias (2 g u,) in Keras's form.

    Source: keras 2.3 engine/saving.py, _convert_rnn_weights. CuDNN's matrices are transposed gate by gate.
    LSTM adds its two biases; GRU, which is reset-after in CuDNN, keeps them as rows (2, 3u).
    """
    kernel, recurrent, bias = arrays
    if kernel.ndim != 2 or recurrent.ndim != 2 or kernel.shape[1] % gates or recurrent.shape[1] % gates:
        return arrays
    blocks = np.split(kernel, gates, axis=1)
    kernel = np.hstack([block.T.reshape(block.shape, order="F") for block in blocks])
    recurrent = np.hstack([block.T for block in np.split(recurrent, gates, axis=1)])
    bias = bias.reshape(2, -1)
    return [kernel, recurrent, bias.sum(axis=0) if gates == 4 else bias]


# --------------------------------------------------------------------- Keras 1


def keras_1_arrays(found: WeightedObject, arrays: list[Array]) -> list[list[Array]] | None:
    """The arrays of a Keras 1 layer, cut up by owner in the order of ``owners`` and in Keras 2's form.

    Keras 1 stores all trainable arrays, then the others; LSTM as 12 arrays and GRU as 9, or as 3 where
    trained with consume_less="gpu". ``None`` where the count fits neither.
    """
    units = owners(found)
    for separate_gates in (True, False):
        counts = [_keras_1_counts(owner, trainable, separate_gates) for owner, trainable in units]
        if sum(first + second for first, second in counts) != len(arrays):
            continue
        position = 0
        parts: list[list[Array]] = [[] for _ in units]
        for phase in (0, 1):
            for part, count in zip(parts, counts, strict=True):
                part += arrays[position : position + count[phase]]
                position += count[phase]
        return [_from_keras_1(owner, part) for (owner, _), part in zip(units, parts, strict=True)]
    return None


def owners(found: WeightedObject, trainable: bool = True) -> list[tuple[WeightedObject, bool]]:
    """Objects with variables of their own, at and below one, each with whether it is trainable."""
    trainable = trainable and bool(found.trainable)
    result = [(found, trainable)] if found.own_variables else []
    for child in children(found):
        result += owners(child, trainable)
    return result


def _keras_1_counts(owner: WeightedObject, trainable: bool, separate_gates: bool) -> tuple[int, int]:
    own = owner.own_variables
    first = sum(1 for variable in own if variable.trainable)
    if separate_gates and len(own) == 3:
        first = 3 * facts_of(owner.class_name).gates or first
    second = max(len(own) - sum(1 for variable in own if variable.trainable), 0)
    return (first, second) if trainable else (0, first + second)


def _from_keras_1(owner: WeightedObject, arrays: list[Array]) -> list[Array]:
    """Source: keras 2.0 to 2.3 engine/saving.py, preprocess_weights_for_loading."""
    if len(arrays) == 12:
        # Stored i, c, f, o; fused i, f, c, o.
        return [
            np.concatenate([arrays[gate * 3 + kind] for gate in (0, 2, 1, 3)], axis=-1) for kind in range(3)
        ]
    if len(arrays) == 9:
        return [np.concatenate([arrays[gate * 3 + kind] for gate in range(3)], axis=-1) for kind in range(3)]
    if not facts_of(owner.class_name).theano_orders or not arrays:
        return arrays
    kernel, expected = arrays[0], tuple(owner.own_variables[0].shape)
    if kernel.ndim == 4 and len(expected) == 3:
        if kernel.shape[1] != 1 or kernel.shape[3] != expected[-1]:
            # Keras up to 1.1 on Theano: (out, in, length, 1).
            kernel = kernel.transpose(2, 3, 1, 0)
        return [kernel[:, 0], *arrays[1:]]
    if kernel.shape != expected and kernel.ndim == len(expected) > 3:
        # dim_ordering "th": (out, in, rows, columns).
        kernel = kernel.transpose(*range(2, kernel.ndim), 1, 0)
    return [kernel, *arrays[1:]]
