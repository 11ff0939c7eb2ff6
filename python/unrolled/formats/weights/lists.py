# SPDX-License-Identifier: MIT
"""Weights laid out as a list per layer: whole `.h5` files of every Keras, weights-only files before the tree.

Each layer has a group with the attribute ``weight_names``; the order is trainable first, then the rest,
through everything inside the layer (keras 3.15 legacy/saving/legacy_h5_format.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing

from unrolled.errors import ModelFileError, printable
from unrolled.formats.config.versions import Writer
from unrolled.formats.hdf5 import HDF5File
from unrolled.formats.weights.source import Array, Assignment, Slot, keras_1_arrays, owners, slots, title
from unrolled.spec import VariableLike, WeightedObject

Path = tuple[str, ...]


def has_names(file: HDF5File, path: Path, attribute: str) -> bool:
    """Whether an object has a list of names, in one attribute or in chunks (HDF5 limits one to 64 KiB)."""
    names = file.attribute_names(path)
    return attribute in names or f"{attribute}0" in names


def read_names(file: HDF5File, path: Path, attribute: str) -> list[str]:
    """A list of names; ``ModelFileError`` where there is none."""
    present = set(file.attribute_names(path))
    if attribute in present:
        chunks = [file.attribute(path, attribute)]
    else:
        chunks = []
        while f"{attribute}{len(chunks)}" in present:
            chunks.append(file.attribute(path, f"{attribute}{len(chunks)}"))
        if not chunks:
            raise ModelFileError(f"{file.where(path)}: has no attribute {attribute!r}")
    names: list[str] = []
    for chunk in chunks:
        names += [chunk] if isinstance(chunk, str) else chunk or []
    return names


class ListWeights:
    """Weights in the list layout. See ``WeightSource``.

    Parameters
    ----------
    opener : callable
        Opens the file.
    base : tuple of str
        The group: ("model_weights",) of whole files, () of weights-only files.
    writer : Writer
        The Keras that wrote the weights.
    backend : str, optional
        The backend that the file names.
    same_model : bool
        The file also describes the model, so that layers are found by name; else by order, as in Keras.
    """

    def __init__(
        self,
        opener: Callable[[], HDF5File],
        base: Path,
        writer: Writer,
        backend: str | None,
        same_model: bool,
    ) -> None:
        self._opener = opener
        self._base = base
        self._writer = writer
        self._backend = backend
        self._same_model = same_model

    def load_into(self, model: WeightedObject) -> None:
        """See ``WeightSource.load_into``."""
        assignment = Assignment()
        with closing(self._opener()) as file:
            for layer, group, names in self._pairs(model, file):
                arrays = [file.stored((*group, *_split(name))).read() for name in names]
                match_arrays(
                    assignment,
                    layer,
                    names,
                    arrays,
                    file.where(group),
                    self._writer,
                    self._backend == "theano",
                )
        assignment.check_complete(model)
        assignment.apply()

    def arrays_of(self, name: str, class_name: str, number: int) -> list[tuple[str, Array]]:
        """See ``WeightSource.arrays_of``."""
        with closing(self._opener()) as file:
            group = (*self._base, *_split(name))
            if not file.contains(group) or not has_names(file, group, "weight_names"):
                return []
            names = read_names(file, group, "weight_names")
            return [(variable_name(name), file.stored((*group, *_split(name))).read()) for name in names]

    def bias_rank(self, layer: str) -> int | None:
        """The rank of a layer's bias, where the file has a layer of that name and it has one bias rank."""
        with closing(self._opener()) as file:
            group = (*self._base, *_split(layer))
            if not file.contains(group) or not has_names(file, group, "weight_names"):
                return None
            names = [
                name for name in read_names(file, group, "weight_names") if variable_name(name) == "bias"
            ]
            ranks = {len(file.stored((*group, *_split(name))).shape) for name in names}
        return ranks.pop() if len(ranks) == 1 else None

    def _pairs(self, model: WeightedObject, file: HDF5File) -> list[tuple[WeightedObject, Path, list[str]]]:
        """Layers with weights, each with its group and the names in it."""
        stored: dict[str, list[str]] = {}
        listed = read_names(file, self._base, "layer_names")
        if len(set(listed)) != len(listed):
            raise ModelFileError(f"{file.where(self._base)}: two layers of one name")
        for layer in listed:
            names = read_names(file, (*self._base, *_split(layer)), "weight_names")
            if names:
                stored[layer] = names
        self._refuse_unlisted(file, set(listed))
        layers = [layer for layer in model.tracked["layers"] if any(True for _ in slots(layer))]
        names_agree = self._same_model and {layer.name for layer in layers} == set(stored)
        if len(layers) != len(stored):
            missing = [layer.name for layer in layers if layer.name not in stored]
            extra = [name for name in stored if name not in {layer.name for layer in layers}]
            raise ModelFileError(
                f"{file.where(self._base)}: has weights for {len(stored)} layers, the model has {len(layers)} "
                f"layers with weights (not in the file: {_some(missing)}; not in the model: {_some(extra)})"
            )
        order = [layer.name for layer in layers] if names_agree else list(stored)
        return [
            (layer, (*self._base, *_split(name)), stored[name])
            for layer, name in zip(layers, order, strict=True)
        ]

    def _refuse_unlisted(self, file: HDF5File, listed: set[str]) -> None:
        top = (*self._base, "top_level_model_weights")
        if "top_level_model_weights" in listed or not file.contains(top):
            return
        if has_names(file, top, "weight_names") and read_names(file, top, "weight_names"):
            raise ModelFileError(f"{file.where(top)}: weights of the model itself, which belong to no layer")


# ------------------------------------------------------------------- one layer


def match_arrays(
    assignment: Assignment,
    layer: WeightedObject,
    names: list[str],
    arrays: list[Array],
    source: str,
    writer: Writer | None = None,
    theano: bool = False,
) -> None:
    """Plan the assignments of one layer: by the variables' names, else in Keras's order.

    Parameters
    ----------
    assignment : Assignment
        What is planned.
    layer : WeightedObject
        The layer.
    names, arrays : list
        What the file has for it.
    source : str
        Where, for error messages.
    writer : Writer, optional
        The Keras that wrote them: Keras 1 stores gates apart.
    theano : bool
        Whether kernels are flipped as Theano's.
    """
    if writer is not None and writer.keras_1_names:
        parts = keras_1_arrays(layer, arrays)
        if parts is not None:
            # Keras 1 says no backend, but TensorFlow's variables have ":0" in their names.
            theano = not any(name.endswith(":0") for name in names)
            for (owner, _), part in zip(owners(layer), parts, strict=True):
                values = list(zip(owner.own_variables, part, strict=True))
                assignment.add_owner(owner, values, source, theano)
            return
    found = list(slots(layer))
    if len(found) != len(arrays):
        raise ModelFileError(
            f"{title(layer)}: expected {len(found)} arrays ({_some([slot.variable.name for slot in found])}), "
            f"{source} has {len(arrays)} ({_some(names)})"
        )
    matched = _by_name(found, names, arrays) or _by_order(found, arrays)
    grouped: dict[int, list[tuple[VariableLike, Array]]] = {}
    owner_of: dict[int, WeightedObject] = {}
    for slot, array in matched:
        grouped.setdefault(id(slot.owner), []).append((slot.variable, array))
        owner_of[id(slot.owner)] = slot.owner
    for key, values in grouped.items():
        owner = owner_of[key]
        position = {id(variable): number for number, variable in enumerate(owner.own_variables)}
        values.sort(key=lambda pair: position[id(pair[0])])
        assignment.add_owner(owner, values, source, theano)


def _split(name: str) -> Path:
    return tuple(part for part in name.split("/") if part)


def _some(names: list[str]) -> str:
    return (
        ", ".join(printable(name, 60) for name in names[:6]) + (", ..." if len(names) > 6 else "")
    ) or "none"


def variable_name(name: str) -> str:
    """The variable that a weight's name ends in: "lstm_1/kernel:0" and "kernel_1:0" to "kernel"."""
    last = _split(name)[-1] if _split(name) else ""
    return re.sub(r"_\d+$", "", last.split(":")[0])


def _keras_order(found: list[Slot]) -> list[Slot]:
    return sorted(found, key=lambda slot: not slot.trainable)


def _by_order(found: list[Slot], arrays: list[Array]) -> list[tuple[Slot, Array]]:
    """By Keras's order, or the first plain order whose shapes fit where the flags of the config are not those
    of the time of saving."""
    orders = [_keras_order(found), sorted(found, key=lambda slot: not slot.variable.trainable), found]
    for order in orders:
        if all(slot.variable.shape == array.shape for slot, array in zip(order, arrays, strict=True)):
            return list(zip(order, arrays, strict=True))
    return list(zip(orders[0], arrays, strict=True))


def _by_name(found: list[Slot], names: list[str], arrays: list[Array]) -> list[tuple[Slot, Array]] | None:
    """By the variables' names, and by the names of nested layers where several variables share one.

    ``None`` where the names are not those of the variables (Keras 1, renamed variables).
    """
    by_variable: dict[str, list[Slot]] = {}
    for slot in _keras_order(found):
        by_variable.setdefault(slot.variable.name, []).append(slot)
    stored: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        stored.setdefault(variable_name(name), []).append(number)
    if {key: len(value) for key, value in by_variable.items()} != {
        key: len(value) for key, value in stored.items()
    }:
        return None
    matched: list[tuple[Slot, Array]] = []
    for variable, candidates in by_variable.items():
        numbers = stored[variable]
        matched += _pair(candidates, [(_split(names[number]), arrays[number]) for number in numbers])
    return matched


def _pair(candidates: list[Slot], stored: list[tuple[Path, Array]]) -> list[tuple[Slot, Array]]:
    """Slots of one variable name with the arrays of that name."""
    if len(candidates) == 1:
        return [(candidates[0], stored[0][1])]
    # The names that tell these candidates apart, from the outermost down.
    chosen: list[tuple[Slot, Array]] = []
    for path, array in stored:
        fitting = [
            slot
            for slot in candidates
            if any(name in path[:-1] for name in slot.names if _tells_apart(name, candidates))
        ]
        if len(fitting) != 1:
            break
        chosen.append((fitting[0], array))
    if len(chosen) == len(stored) and len({id(slot.variable) for slot, _ in chosen}) == len(stored):
        return chosen
    return list(zip(candidates, [array for _, array in stored], strict=True))


def _tells_apart(name: str, candidates: list[Slot]) -> bool:
    return sum(name in slot.names for slot in candidates) == 1
