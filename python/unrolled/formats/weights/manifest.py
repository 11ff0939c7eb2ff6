# SPDX-License-Identifier: MIT
"""Weights of a TensorFlow.js model, which has one list of names for all layers.

The converter sorts layers by name and keeps Keras's names, whose first parts depend on the Keras version:
"dense/kernel", "sequential/lstm/lstm_cell/kernel", "forward_lstm/lstm_cell/kernel" (a Bidirectional in a functional
model of Keras 3.13), or a plain "mean".
"""

from __future__ import annotations

from contextlib import ExitStack

from unrolled.errors import ModelFileError, printable
from unrolled.formats.tfjs import Manifest
from unrolled.formats.weights.lists import match_arrays, variable_name
from unrolled.formats.weights.source import Array, Assignment, Slot, slots, title
from unrolled.formats.weights.tree import ROOT, Group, Path, TreeWeights
from unrolled.spec import WeightedObject


class ManifestWeights:
    """Weights by names. See ``WeightSource``."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def load_into(self, model: WeightedObject) -> None:
        """See ``WeightSource.load_into``."""
        source = self._manifest.files.title
        layers = {id(layer): (layer, list(slots(layer))) for layer in _leaves(model)}
        taken: dict[int, list[tuple[str, Array]]] = {key: [] for key in layers}
        for name, values in self._manifest.read():
            taken[_choose(list(layers.values()), name, values, source)].append((name, values))
        assignment = Assignment()
        for key, found in taken.items():
            names, arrays = [name for name, _ in found], [values for _, values in found]
            if len(set(names)) != len(names):
                raise ModelFileError(f"{source}: two weights of one name for {title(layers[key][0])}")
            match_arrays(assignment, layers[key][0], names, arrays, source)
        assignment.check_complete(model)
        assignment.apply()

    def arrays_of(self, name: str, class_name: str, number: int) -> list[tuple[str, Array]]:
        """See ``WeightSource.arrays_of``."""
        return [
            (variable_name(key), values)
            for key, values in self._manifest.read()
            if name in key.split("/")[:-1]
        ]


def _leaves(model: WeightedObject) -> list[WeightedObject]:
    """The layers with weights, those of nested models in place of them, each once."""
    found: dict[int, WeightedObject] = {}
    for layer in model.tracked["layers"]:
        if isinstance(layer.tracked.get("layers"), list | tuple):
            found |= {id(inner): inner for inner in _leaves(layer)}
        elif any(True for _ in slots(layer)):
            found[id(layer)] = layer
    return list(found.values())


def _choose(layers: list[tuple[WeightedObject, list[Slot]]], name: str, values: Array, source: str) -> int:
    """The layer that a weight is of: by the layer's name in it, by names inside the layer, or by its own."""
    parts = name.split("/")
    variable = variable_name(name)

    def rank(layer: WeightedObject, found: list[Slot]) -> tuple[bool, int, bool]:
        inner = {part for slot in found for part in slot.names}
        fits = any(
            slot.variable.name == variable and tuple(slot.variable.shape) == values.shape for slot in found
        )
        return (layer.name in parts[:-1], len(inner & set(parts[:-1])), fits)

    ranked = [(rank(layer, found), layer) for layer, found in layers]
    best = max((value for value, _ in ranked), default=(False, 0, False))
    chosen = [layer for value, layer in ranked if value == best]
    if len(chosen) != 1 or not any(best):
        what = (
            ", ".join(printable(layer.name, 40) for layer in chosen[:6])
            if any(best)
            else "none of the model's"
        )
        raise ModelFileError(
            f"{source}: the weight {printable(name)!r} of shape {values.shape} belongs to no layer for certain ({what})"
        )
    return id(chosen[0])


class ManifestTree(TreeWeights):
    """Weights that the converter took out of a `.keras` file: their names are the paths of Keras 3's tree."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__([], same_model=False)
        self._manifest = manifest

    def _index(self, stack: ExitStack) -> dict[Path, Group]:
        index: dict[Path, Group] = {}
        for name, values in self._manifest.read():
            *path, number = name.split("/")
            group = index.setdefault(tuple(path), Group(f"{self._manifest.files.title}, {printable(name)!r}"))
            if (
                path[-1:] != ["vars"]
                or not number.isdecimal()
                or len(number) > 9
                or int(number) in group.arrays
            ):
                raise ModelFileError(
                    f"{self._manifest.files.title}: {printable(name)!r} is no path of a weight"
                )
            group.arrays[int(number)] = Given(values)
        return index


class Given:
    """An array that has been read, in place of one that has not."""

    def __init__(self, values: Array) -> None:
        self.shape: tuple[int, ...] = values.shape
        self._values = values

    def read(self) -> Array:
        """The values."""
        return self._values


def manifest_weights(manifest: Manifest) -> ManifestWeights | ManifestTree:
    """The weights of a manifest by the form of its names."""
    names = [weight.name for _, weights in manifest.groups for weight in weights]
    if names and all(name.startswith(f"{ROOT}/") and "/vars/" in name for name in names):
        return ManifestTree(manifest)
    return ManifestWeights(manifest)
