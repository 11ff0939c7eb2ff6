# SPDX-License-Identifier: MIT
"""From the description of a layer in a file to the layer, the user's own code in its place included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from unrolled import activations
from unrolled.errors import ConfigError, Problem, printable
from unrolled.layers.base import Layer
from unrolled.layers.custom import PythonLayer
from unrolled.layers.options import set_semantics
from unrolled.layers.registry import find_class
from unrolled.semantics import KERAS_3, Semantics
from unrolled.spec import LayerSpec, ModelSpec, UnsupportedValue, WeightSource

# Classes that will never be supported, each with what to do instead.
REFUSED: Mapping[str, str] = {
    "Lambda": "a Lambda layer holds Python code, which is never decoded or run; "
    "replace it by a built-in layer and export again",
    "TFOpLambda": "this TensorFlow operation has no counterpart here",
    "SlicingOpLambda": "this TensorFlow operation has no counterpart here",
    "TensorFlowOpLayer": "raw TensorFlow operations are not supported; export from a newer tf.keras",
}

# Keras's own layers whose inputs are strings.
_TEXT_LAYERS = frozenset({"Hashing", "HashedCrossing"})

# A retry drops a bad key so that the next bad one shows too; more than this many are not worth listing.
MAX_PROBLEMS_PER_LAYER = 20


@dataclass
class BuildContext:
    """What building the layers of one file needs to know and remembers.

    Parameters
    ----------
    semantics : Semantics
        The rules of the version that wrote it.
    problems : list of Problem
        Everything unsupported is appended.
    custom_objects : mapping
        The user's layers and functions, by the name of a layer, a class or a function of the file.
    dropout_off : bool
        Whether calls with ``training=True`` run without dropout; they are problems otherwise.
    weights : WeightSource, optional
        Where weights of the user's functions are found.
    """

    semantics: Semantics = KERAS_3
    problems: list[Problem] = field(default_factory=list)
    custom_objects: Mapping[str, Any] = field(default_factory=dict)
    dropout_off: bool = False
    weights: WeightSource | None = None
    # By id, the layers of specs: one object in two places is one layer. The specs are kept alive by the file.
    built: dict[int, Layer | None] = field(default_factory=dict)
    # How many layers of a class got functions: the next one's weights are the next group's.
    functions: Counter[str] = field(default_factory=Counter)
    # Names of custom_objects that something was found for.
    used: set[str] = field(default_factory=set)
    # The config keys of classes, and those kept unused: the same for each of thousands of layers.
    keys: dict[type[Layer], tuple[set[str], dict[str, str]]] = field(default_factory=dict)


ModelBuilder = Callable[[LayerSpec, ModelSpec, BuildContext], "Layer | None"]
_model_builder: ModelBuilder | None = None


def set_model_builder(builder: ModelBuilder) -> None:
    """Say how nested models are built from specs (``models`` does, which may import ``layers`` but not the
    reverse)."""
    global _model_builder
    _model_builder = builder


def build_layer(spec: LayerSpec, context: BuildContext) -> Layer | None:
    """Make the layer that ``spec`` describes; the same one for the same ``spec`` of one file.

    Parameters
    ----------
    spec : LayerSpec
        From a file.
    context : BuildContext
        Of the file; everything unsupported is appended to its ``problems``.

    Returns
    -------
    Layer or None
        None where something was unsupported.
    """
    if id(spec) not in context.built:
        context.built[id(spec)] = _build_layer(spec, context)
    return context.built[id(spec)]


def _build_layer(spec: LayerSpec, context: BuildContext) -> Layer | None:
    problems = context.problems

    def problem(key: str, found: object, supported: str) -> None:
        problems.append(Problem(spec.name, spec.class_name, key, str(found), supported))

    cls = None
    if spec.class_name not in REFUSED:
        cls = find_class(spec.class_name, spec.origin)
    custom = _custom_object(spec, context, is_known=cls is not None or spec.model is not None)
    if isinstance(custom, Layer):
        if any(layer is custom for layer in context.built.values()):
            problem("", f"a second {spec.class_name}", "a layer object stands for one layer: give its class")
            return None
        custom.name = spec.name
        return custom
    if isinstance(custom, type) and issubclass(custom, Layer):
        cls = custom
    elif callable(custom):
        number = context.functions[spec.class_name]
        context.functions[spec.class_name] += 1
        arrays = (
            [] if context.weights is None else context.weights.arrays_of(spec.name, spec.class_name, number)
        )
        return PythonLayer(custom, spec.class_name, arrays, name=spec.name)
    elif custom is not None:
        problem("", f"custom_objects: {custom!r}", "expected a function, a Layer class or a Layer")
        return None
    elif spec.model is not None:
        if _model_builder is None:
            raise RuntimeError("unrolled.models has not been imported")
        return _model_builder(spec, spec.model, context)
    elif spec.class_name in REFUSED:
        what = spec.config.get("function")
        problem("", f"{spec.class_name} {what!r}" if isinstance(what, str) else spec.class_name,
                f"{REFUSED[spec.class_name]}{_OR_CUSTOM.format(printable(spec.name))}")  # fmt: skip
        return None
    if cls is None:
        if spec.origin == "keras" and spec.class_name in _TEXT_LAYERS:
            problem("", spec.class_name, "this layer of Keras hashes what it reads, which unrolled does not; apply it before "
                    "the model, and save the model without it")  # fmt: skip
            return None
        origin = "" if spec.origin in ("keras", spec.class_name) else f" from {spec.origin}"
        problem("", f"{spec.class_name}{origin}",
                "no built-in layer of this name is supported; custom code in a file is never run"
                f"{_OR_CUSTOM.format(printable(spec.class_name))}")  # fmt: skip
        return None

    before = len(problems)
    if cls not in context.keys:
        context.keys[cls] = set(cls.config_keys()), cls.ignored_keys()
    known, ignored = context.keys[cls]
    arguments: dict[str, Any] = {"name": spec.name}
    for key, value in spec.config.items():
        if key in ignored:
            if not isinstance(value, UnsupportedValue):
                arguments[key] = value  # kept for the config, and for calls with training=True
            continue
        value = _custom_function(key, value, context)
        if key not in known:
            problem(key, value, f"{spec.class_name} has no such option in any supported Keras version")
        elif isinstance(value, UnsupportedValue):
            problem(key, value.description, "code and custom objects in a file are never decoded or run"
                    + (_OR_CUSTOM.format(value.name) if value.name else ""))  # fmt: skip
        else:
            arguments[key] = _build_inner(value, context)
    if any(
        problem.class_name != spec.class_name or problem.layer != spec.name for problem in problems[before:]
    ):
        return None  # a layer inside failed and said why
    for _ in range(MAX_PROBLEMS_PER_LAYER):
        try:
            layer = cls(**arguments)
        except ConfigError as error:
            problem(error.key, error.found, error.supported)
            if error.key not in arguments:
                return None
            del arguments[error.key]
        except (TypeError, ValueError, OverflowError) as error:
            if len(problems) == before:
                problem("", printable(error), "the config does not make a valid layer")
            return None
        else:
            set_semantics(layer, context.semantics)
            return layer if len(problems) == before else None
    return None


# What may be done about code in a file.
_OR_CUSTOM = '; or give your own: load_model(..., custom_objects={{"{}": function or layer}})'
_ACTIVATION_KEYS = ("activation", "recurrent_activation")


def _custom_object(spec: LayerSpec, context: BuildContext, is_known: bool) -> Any:
    """What the user gave for a layer: by its name, or for classes that are not Keras's by the class."""
    names = [spec.name]
    if not is_known:
        names += [f"{spec.origin}>{spec.class_name}", spec.class_name]
    for name in names:
        if name in context.custom_objects:
            context.used.add(name)
            return context.custom_objects[name]
    return None


def _custom_function(key: str, value: Any, context: BuildContext) -> Any:
    """The user's activation where a config names one that is not Keras's, else ``value``."""
    name = value.name if isinstance(value, UnsupportedValue) else value
    if key not in _ACTIVATION_KEYS or not isinstance(name, str) or name not in context.custom_objects:
        return value
    if isinstance(value, str) and value in activations.names():
        return value
    context.used.add(name)
    return activations.custom(name, context.custom_objects[name])


def _build_inner(value: Any, context: BuildContext) -> Any:
    if isinstance(value, LayerSpec):
        return build_layer(value, context)
    if isinstance(value, list | tuple):
        return type(value)([_build_inner(item, context) for item in value])
    return value
