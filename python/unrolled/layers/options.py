# SPDX-License-Identifier: MIT
"""Attributes set on a layer that exists: they take effect in every plan that holds the layer, or are refused.

An option goes through the constructor, so that it is checked and brought into its form as there; a weight is
assigned; what plans hold of the layer is dropped.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from unrolled.engine import tree
from unrolled.engine.variables import Variable
from unrolled.errors import ConfigError
from unrolled.semantics import Semantics

if TYPE_CHECKING:
    from unrolled.layers.base import Layer

# Attributes that no plan is made of.
NO_PART_OF_PLANS = frozenset({
    "name", "trainable", "built", "nodes", "states", "source", "holders",
    "declared_input_shape", "built_shape",
})  # fmt: skip
# What a layer keeps when it takes over the options of another: where it stands, and what it has learnt.
_OWN = NO_PART_OF_PLANS | {
    "semantics", "_own_variables", "_plans", "_is_made",
}  # fmt: skip


class LayerType(type):
    """Class of layer classes: marks a layer as made once its constructor is done, see ``change``."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        layer = super().__call__(*args, **kwargs)
        layer._is_made = True
        return layer

    @property
    def __signature__(cls) -> inspect.Signature:
        """The constructor's: ``inspect`` would take that of ``__call__``."""
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        return signature.replace(parameters=list(signature.parameters.values())[1:])


@contextmanager
def making(layer: Layer) -> Iterator[None]:
    """While inside, attributes of ``layer`` are set as in its constructor."""
    was_made, layer._is_made = layer._is_made, False
    try:
        yield
    finally:
        layer._is_made = was_made


def change(layer: Layer, name: str, value: Any) -> None:
    """Set the attribute ``name`` of a layer that has been made.

    Raises
    ------
    AttributeError
        There is no such attribute, or it cannot be replaced.
    ConfigError
        The option cannot have this value, or not any more: weights or shapes depend on it.
    """
    if isinstance(getattr(type(layer), name, None), property):
        object.__setattr__(layer, name, value)
    elif name in type(layer).config_keys():
        _reconfigure(layer, name, value)
        return
    elif name in layer.__dict__:
        current = layer.__dict__[name]
        if isinstance(current, Variable):
            current.assign(value)
            return
        if _holds_layers(current):
            raise _refusal(layer, name, "holds layers that weights and shapes depend on; make a new layer")
        if current is None and isinstance(value, np.ndarray | list | Variable):
            raise _refusal(layer, name, "has no weight here; build the layer first, or make one that has it")
        object.__setattr__(layer, name, value)
    elif type(layer).__module__.startswith("unrolled.") and not layer.keeps_any_attribute:
        inner = ", ".join(layer.tracked)
        raise _refusal(layer, name, "does not exist" + (f"; the layers inside are: {inner}" if inner else ""))
    else:
        object.__setattr__(layer, name, value)
    layer.holders.invalidate(options=True)


def _refusal(layer: Layer, name: str, reason: str) -> AttributeError:
    return AttributeError(f"layer {layer.name!r} ({layer.class_name}): the attribute {name!r} {reason}")


def _holds_layers(value: Any) -> bool:
    return any(isinstance(leaf, Variable) or isinstance(type(leaf), LayerType) for leaf in tree.leaves(value))


def set_semantics(layer: Layer, semantics: Semantics) -> None:
    """Give a layer and those inside it the rules of a version."""
    layer.semantics = semantics
    for inner in layer.sublayers():
        set_semantics(inner, semantics)


def _reconfigure(layer: Layer, key: str, value: Any) -> None:
    """Give ``layer`` what the constructor makes of its config with ``key`` changed."""
    if _holds_layers(value) or _holds_layers(layer.__dict__.get(key)):
        raise _refusal(layer, key, "holds layers that weights and shapes depend on; make a new layer")
    fresh = type(layer).from_config(layer.get_config() | {key: value})
    set_semantics(fresh, layer.semantics)
    before, after = [_described(one, layer) for one in (layer, fresh)]
    if before != after:
        raise ConfigError(
            key, value, f"weights and shapes of layer {layer.name!r} depend on it; make a new layer"
        )
    _take_over(layer, fresh)


def _described(layer: Layer, built: Layer) -> Any:
    """Names and shapes of the weights and of the outputs of all calls, as far as ``built`` is built."""
    if not built.built:
        return None
    if built.built_shape is not None:
        layer.build(built.built_shape)
    weights = [(variable.name, variable.shape) for variable in layer.weights]
    outputs = None if built.built_shape is None else layer.compute_output_shape(built.built_shape)
    calls = [layer.describe_output(node.args, node.kwargs) for node in built.nodes if node.parents]
    return repr([weights, outputs, calls])


def _take_over(layer: Layer, fresh: Layer) -> None:
    for name, value in fresh.__dict__.items():
        if (
            name not in _OWN
            and not _holds_layers(value)
            and not isinstance(layer.__dict__.get(name), Variable)
        ):
            layer.__dict__[name] = value
    for inner, fresh_inner in zip(layer.sublayers(), fresh.sublayers(), strict=True):
        _take_over(inner, fresh_inner)
    layer.holders.invalidate(options=True)
