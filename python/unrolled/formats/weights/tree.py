# SPDX-License-Identifier: MIT
"""Weights laid out by the tree of objects: `.keras` and `.weights.h5` of Keras 3 and tf.keras from 2.12 on.

Paths are ``layers/<snake case class>[_n]/<attribute>/.../vars/<i>``: never a layer's name.
Sources: keras 3.15 and tf_keras 2.21 saving/saving_lib.py; tf.keras 2.12 for its double counting.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from unrolled.errors import ModelFileError, printable
from unrolled.formats.hdf5 import HDF5File
from unrolled.formats.weights.source import Assignment, slots, title
from unrolled.spec import VariableLike, WeightedObject, facts_of

ROOT = "layers"
ROOT_2_12 = "_layer_checkpoint_dependencies"

# Groups at the root that hold no weights of the model.
_NOT_WEIGHTS = frozenset(
    {"optimizer", "_optimizer", "metrics", "_metrics", "loss", "loss_tracker", "_loss_tracker"}
)
# States of random generators of dropout, which some versions store.
_RANDOM = frozenset({"seed_generator", "_seed_generator", "random_generator", "_random_generator"})
# What a lookup layer of output mode "tf_idf" stores beside its vocabulary.
IDF_WEIGHTS = "idf_weights"

Path = tuple[str, ...]


def snake_case(class_name: str) -> str:
    """Keras's group name of a class: ConvLSTM2D to conv_lstm2d (keras 3.15 utils/naming.py)."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


class Readable(Protocol):
    """An array of a file whose shape is known and whose values can be read."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def read(self) -> Any:
        """The values."""


@dataclass(slots=True)
class Group:
    """A ``vars`` group: arrays by number, and the layer's name where the file has it (Keras 3.6 on)."""

    source: object  # where it lies, as text
    arrays: dict[int, Readable] = field(default_factory=dict)
    name: str | None = None


class TreeWeights:
    """Weights in the tree layout, in one HDF5 file or several shards. See ``WeightSource``.

    Parameters
    ----------
    openers : sequence of callable
        Each opens one file.
    repeated : tuple of bool
        Whether layers that were written before still advance the counters; tried in order.
    same_model : bool
        The file also describes the model, so that names of layers must agree.
    """

    def __init__(
        self,
        openers: Sequence[Callable[[], HDF5File]],
        repeated: tuple[bool, ...] = (True, False),
        same_model: bool = False,
    ) -> None:
        self._openers = openers
        self._repeated = repeated
        self._same_model = same_model

    def _index(self, stack: ExitStack) -> dict[Path, Group]:
        """All groups of arrays; ``stack`` keeps open what they lie in."""
        return _read_index([stack.enter_context(closing(opener())) for opener in self._openers])

    def load_into(self, model: WeightedObject) -> None:
        """See ``WeightSource.load_into``."""
        with ExitStack() as stack:
            index = self._index(stack)
            problem: ModelFileError | None = None
            # Layers that Keras had as one object are stored once; a config does not always say which they
            # were, so if a group is missing, layers that agree in class, name and shapes are taken as one.
            for repeated, by_name in itertools.product(self._repeated, (False, True)):
                try:
                    assignment = _match(model, index, _Walk(index, repeated, by_name), self._same_model)
                except ModelFileError as error:
                    problem = problem or error
                    continue
                assignment.apply()
                return
        if problem is not None:
            raise problem

    def arrays_of(self, name: str, class_name: str, number: int) -> list[tuple[str, Any]]:
        """See ``WeightSource.arrays_of``."""
        with ExitStack() as stack:
            index = self._index(stack)
            named = [path[:-1] for path, group in index.items() if group.name == name and len(path) > 2]
            if not named:
                # Before Keras 3.6 groups have no names: the layers of a class in their order.
                pattern = re.compile(re.escape(snake_case(class_name)) + r"(?:_\d+)?")
                prefixes = {
                    path[: depth + 1]
                    for path in index
                    for depth in range(1, len(path))
                    if path[depth - 1] in (ROOT, ROOT_2_12) and pattern.fullmatch(path[depth])
                }
                named = sorted(prefixes, key=_natural)[number : number + 1]
            if not named:
                return []
            groups = _groups_below(index, named[0])
            return [
                (path[-2] if path[:-1] != named[0] else name, index[path].arrays[position].read())
                for path in groups
                for position in sorted(index[path].arrays)
            ]


def _natural(path: Path) -> list[tuple[str, int]]:
    """A sorting key: numbers at the ends of names count as numbers."""
    parts = [re.fullmatch(r"(.*?)(?:_(\d+))?", part) for part in path]
    return [(part[1], int(part[2] or 0)) for part in parts if part is not None]


def _groups_below(index: dict[Path, Group], path: Path) -> list[Path]:
    """The ``vars`` groups with arrays at and below a path: own ones first, then by name."""
    found = [key for key in index if key[: len(path)] == path and index[key].arrays]
    found = [key for key in found if not _RANDOM & set(key)]
    return sorted(found, key=lambda key: (len(key) > len(path) + 1, _natural(key)))


def _read_index(files: list[HDF5File]) -> dict[Path, Group]:
    """All ``vars`` groups by path, shards merged and Windows's backslashes taken for slashes."""
    index: dict[Path, Group] = {}
    for file in files:
        for links in file.walk((), skip=_NOT_WEIGHTS):
            # tf.keras 2.12 to 2.15 on Windows wrote "layers\\lstm\\cell" as the name of one group.
            path = tuple("\\".join(links).split("\\"))
            if path[-1] != "vars" or path[0] in _NOT_WEIGHTS:
                continue
            group = index.setdefault(path, Group(file.place(links)))
            name = file.attribute(links, "name")
            if isinstance(name, str):
                group.name = name
            for child in file.children(links):
                if child == IDF_WEIGHTS:  # read with the vocabulary
                    continue
                if not child.isdecimal() or len(child) > 9:
                    raise ModelFileError(
                        f"{file.where((*links, child))}: expected a number as the array's name"
                    )
                if int(child) in group.arrays:
                    raise ModelFileError(f"{file.where((*links, child))}: stored twice")
                group.arrays[int(child)] = file.stored((*links, child))
    return index


def _match(model: WeightedObject, index: dict[Path, Group], walk: _Walk, same_model: bool) -> Assignment:
    assignment = Assignment()
    used: set[Path] = set()
    for found, path, in_container in walk.objects(model):
        if getattr(found, "takes_any_weights", False):
            _match_any(assignment, found, path, index, used)
            continue
        group = index.get((*path, "vars"))
        variables = stored_order(found.own_variables)
        if group is None:
            if variables:
                raise ModelFileError(
                    f"{title(found)}: the file has no group {printable('/'.join(path))!r} for its weights"
                )
            continue
        used.add((*path, "vars"))
        if same_model and in_container and group.name is not None and group.name != found.name:
            raise ModelFileError(
                f"{title(found)}: {group.source} holds the weights of {printable(group.name)!r}"
            )
        arrays = dict(group.arrays)
        for number, unused_shape in facts_of(found.class_name).unused_arrays.items():
            if number >= len(variables) and number in arrays and arrays[number].shape == unused_shape:
                del arrays[number]
        if sorted(arrays) != list(range(len(variables))):
            raise ModelFileError(
                f"{title(found)}: expected {len(variables)} arrays, {group.source} has {_listed(arrays)}"
            )
        values: list[tuple[VariableLike, Any]] = [
            (variable, arrays[number].read()) for number, variable in enumerate(variables)
        ]
        assignment.add_owner(found, values, group.source)
    for copy, original in walk.copies:
        assignment.copy(original, copy)
    assignment.check_complete(model)
    for path, group in index.items():
        if group.arrays and path not in used and path[0] in (ROOT, ROOT_2_12) and _RANDOM.isdisjoint(path):
            raise ModelFileError(f"{group.source}: weights that belong to no layer of the model")
    return assignment


def _match_any(
    assignment: Assignment, found: WeightedObject, path: Path, index: dict[Path, Group], used: set[Path]
) -> None:
    """All arrays below a layer whose insides only the user knows, for its variables in order."""
    groups = _groups_below(index, path)
    arrays = [index[key].arrays[number].read() for key in groups for number in sorted(index[key].arrays)]
    if len(arrays) != len(found.own_variables):
        raise ModelFileError(
            f"{title(found)}: expected {len(found.own_variables)} arrays, the file has {len(arrays)}"
        )
    used.update(groups)
    for variable, values in zip(found.own_variables, arrays, strict=True):
        assignment.add(found, variable, values, "/".join(path))


def _listed(arrays: dict[int, Readable]) -> str:
    return f"{len(arrays)} (numbers {', '.join(map(str, sorted(arrays)[:8]))})" if arrays else "none"


def stored_order(variables: list[Any]) -> list[Any]:
    """The order of ``vars``: creation order, but kernel, bias, scale where the kernel is quantised.

    A quantised kernel is not trainable, which puts the bias before it among the layer's variables
    (keras 3.15 layers/core/dense.py, save_own_variables).
    """
    names = [variable.name for variable in variables]
    if not any(name.endswith("_scale") for name in names):
        return list(variables)
    rank = {"kernel": 0, "embeddings": 0, "bias": 1, "kernel_scale": 2, "embeddings_scale": 2}
    return sorted(variables, key=lambda variable: rank.get(variable.name, 3))


def object_paths(
    model: WeightedObject, class_names: Mapping[int, str]
) -> Iterator[tuple[WeightedObject, Path]]:
    """The objects of a model with the groups that Keras 3 writes their variables to, each once.

    ``class_names`` has, by id, the class under which an object is written where it is another than its own.
    """
    for found, path, _ in _Walk({}, True, False, class_names).objects(model):
        yield found, path


class _Walk:
    """The objects of a model with their paths in the file, in the order Keras writes them."""

    def __init__(
        self,
        index: dict[Path, Group],
        repeated: bool,
        by_name: bool,
        class_names: Mapping[int, str] | None = None,
    ) -> None:
        self._class_names = class_names or {}
        self._prefixes = {path[:depth] for path in index for depth in range(len(path))}
        self._doubled = (ROOT_2_12,) in self._prefixes
        self._root = ROOT_2_12 if self._doubled else ROOT
        self._repeated = repeated
        self._by_name = by_name
        self._visited: dict[Any, WeightedObject] = {}
        self._entered: set[int] = set()
        # Objects taken as one that was written before, with that one.
        self.copies: list[tuple[WeightedObject, WeightedObject]] = []

    def objects(
        self, found: WeightedObject, path: Path = (), in_container: bool = False
    ) -> Iterator[tuple[WeightedObject, Path, bool]]:
        """``found`` and all objects below it that no earlier path led to."""
        identity = self._identity(found)
        original = self._visited.setdefault(identity, found)
        if found is not original:
            self.copies.append((found, original))
        if found is not original or id(found) in self._entered:
            return
        self._entered.add(id(found))
        if path:
            yield found, path, in_container
        tracked = found.tracked
        is_model = isinstance(tracked.get("layers"), list | tuple)
        # Keras walks attributes in alphabetical order, the layers of a model first.
        for attribute, value in sorted(tracked.items(), key=lambda item: (item[0] != "layers", item[0])):
            if value is None:
                continue
            if isinstance(value, dict):
                value = list(value.values())
            if isinstance(value, list | tuple):
                layers = list(value)
                if is_model and attribute == "layers":
                    yield from self._container(_counted(found, layers), (*path, self._root), self._doubled)
                else:
                    yield from self._container(layers, (*path, attribute), False)
            else:
                yield from self.objects(value, self._child(path, attribute))

    def _identity(self, found: WeightedObject) -> Any:
        if not self._by_name:
            return id(found)
        variables = [(slot.variable.name, tuple(slot.variable.shape)) for slot in slots(found)]
        # Names inside of wrappers and cells repeat; those of layers are unique in one model.
        is_layer = bool(variables) and not found.class_name.endswith("Cell")
        return (found.class_name, found.name, tuple(variables)) if is_layer else id(found)

    def _child(self, path: Path, attribute: str) -> Path:
        """The group of an attribute: some have an underscore in some versions (MultiHeadAttention's)."""
        for name in (attribute, f"_{attribute}", attribute.lstrip("_")):
            if (*path, name) in self._prefixes:
                return (*path, name)
        return (*path, attribute)

    def _container(
        self, layers: list[WeightedObject], path: Path, doubled: bool
    ) -> Iterator[tuple[WeightedObject, Path, bool]]:
        counters: dict[str, int] = {}
        for layer in layers:
            original = self._visited.get(self._identity(layer))
            if original is not None and not self._repeated:
                if original is not layer:
                    self.copies.append((layer, original))
                continue
            written = self._class_names.get(id(layer))
            name = _group_name(layer) if written is None else snake_case(written)
            number = counters.get(name, -1) + 1
            # tf.keras 2.12 and 2.13 list a layer with weights twice (_layer_checkpoint_dependencies).
            counters[name] = number + 1 if doubled and any(True for _ in slots(layer)) else number
            yield from self.objects(layer, (*path, name if number == 0 else f"{name}_{number}"), True)


def _counted(model: WeightedObject, layers: list[WeightedObject]) -> list[WeightedObject]:
    """The layers that have a group: a Sequential's InputLayer has none."""
    if model.class_name == "Sequential":
        return [layer for layer in layers if layer.class_name != "InputLayer"]
    return layers


def _group_name(layer: WeightedObject) -> str:
    if isinstance(layer.tracked.get("layers"), list | tuple) and layer.class_name != "Sequential":
        return "functional"
    return snake_case(layer.class_name)
