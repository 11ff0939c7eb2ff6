# SPDX-License-Identifier: MIT
"""The tables of layers: class names of files to classes, and back. It imports no layer; ``building`` stands on top.

Nothing is imported because a file says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from unrolled.errors import ConfigError
from unrolled.semantics import Semantics
from unrolled.spec import set_facts

if TYPE_CHECKING:
    from unrolled.layers.base import Layer

LayerClass = TypeVar("LayerClass", bound="type[Layer]")

_CLASSES: dict[str, type[Layer]] = {}
# Operations of Keras 3 graphs (``LayerSpec.origin`` "keras.ops"), whose class names may be layers' too:
# the layer Multiply and the operation Multiply are two classes.
_OPERATIONS: dict[str, type[Layer]] = {}

# Key of the rules of older versions in configs; files of Keras have no such key.
SEMANTICS = "semantics"


def register(cls: LayerClass) -> LayerClass:
    """Class decorator: files may name this class."""
    _CLASSES[cls.__name__] = cls
    set_facts(cls.__name__, cls.facts)
    return cls


def register_operation(cls: LayerClass) -> LayerClass:
    """Class decorator: graphs of Keras 3 may name this operation; the class name may end in "Operation"."""
    _OPERATIONS[cls.__name__.removesuffix("Operation")] = cls
    return cls


def layer_classes() -> dict[str, type[Layer]]:
    """All registered classes by Keras's class name."""
    return dict(_CLASSES)


def operation_classes() -> dict[str, type[Layer]]:
    """All registered operations by Keras's class name."""
    return dict(_OPERATIONS)


def layer_class(class_name: str) -> type[Layer]:
    """The registered layer of a class name of Keras's."""
    return _CLASSES[class_name]


def find_class(class_name: str, origin: str = "keras") -> type[Layer] | None:
    """The class that a file names: of layers, or with ``origin`` "keras.ops" of operations; None for others."""
    return {"keras": _CLASSES, "keras.ops": _OPERATIONS}.get(origin, {}).get(class_name)


ModelReader = Callable[[Mapping[str, Any]], "Layer"]
_model_reader: ModelReader | None = None


def set_model_reader(reader: ModelReader) -> None:
    """Say how a model inside a config is made (``models`` does, which may import ``layers`` but not the
    reverse)."""
    global _model_reader
    _model_reader = reader


# What changes serialised layers while a model is being written: see ``changing_serialized``.
Change = Callable[["Layer", "dict[str, Any]"], "dict[str, Any]"]
_change: ContextVar[Change | None] = ContextVar("change", default=None)


@contextmanager
def changing_serialized(change: Change) -> Iterator[None]:
    """While inside, in this thread: every ``serialize_layer`` gives what ``change`` makes of its result."""
    token = _change.set(change)
    try:
        yield
    finally:
        _change.reset(token)


def serialize_layer(layer: Layer) -> dict[str, Any]:
    """A layer inside a config, as Keras 3 writes it."""
    module, registered_name = layer.serialized_as
    serialized = {
        "module": module,
        "class_name": layer.class_name,
        "config": layer.get_config(),
        "registered_name": registered_name,
    }
    change = _change.get()
    return serialized if change is None else change(layer, serialized)


def deserialize_value(value: Any) -> Any:
    """A config value, layers in Keras's serialised form made into layers.

    Raises
    ------
    ConfigError
        An option of a layer inside is not supported.
    """
    if isinstance(value, list | tuple):
        return type(value)([deserialize_value(item) for item in value])
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        return value
    name, config, module = value.get("class_name"), value["config"], value.get("module")
    if name in ("Sequential", "Functional") and "layers" in config and _model_reader is not None:
        return _model_reader(value)
    # Initializers may have a layer's name (Identity).
    of_layers = not isinstance(module, str) or module.startswith(("keras.layers", "keras.src.layers"))
    if not of_layers or not isinstance(name, str) or name not in _CLASSES:
        return value
    return _CLASSES[name].from_config(config)


def semantics_from(config: Mapping[str, Any]) -> Semantics:
    """The rules that ``get_config`` wrote down; today's where it wrote nothing.

    Raises
    ------
    ConfigError
        They are no rules.
    """
    given = config.get(SEMANTICS, {})
    try:
        return Semantics(**given)
    except TypeError:
        raise ConfigError(SEMANTICS, given, "expected the rules that get_config wrote") from None
