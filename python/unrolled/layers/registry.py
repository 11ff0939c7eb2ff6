# SPDX-License-Identifier: MIT
"""Class names of files to our layer classes. Nothing is imported because a file says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from unrolled import activations
from unrolled.errors import ConfigError, Problem, UnsupportedModelError, printable
from unrolled.layers.base import SEMANTICS, Layer
from unrolled.semantics import KERAS_3, Semantics
from unrolled.spec import LayerSpec, ModelSpec, UnsupportedValue, WeightSource

LayerClass = TypeVar("LayerClass", bound=type[Layer])

_CLASSES: dict[str, type[Layer]] = {}
# Operations of Keras 3 graphs (``LayerSpec.origin`` "keras.ops"), whose class names may be layers' too:
# the layer Multiply and the operation Multiply are two classes.
_OPERATIONS: dict[str, type[Layer]] = {}

# Classes that will never be supported, each with what to do instead.
REFUSED: Mapping[str, str] = {
    "Lambda": "a Lambda layer holds Python code, which is never decoded or run; "
    "replace it by a built-in layer and export again",
    "TFOpLambda": "this TensorFlow operation has no counterpart here",
    "SlicingOpLambda": "this TensorFlow operation has no counterpart here",
    "TensorFlowOpLayer": "raw TensorFlow operations are not supported; export from a newer tf.keras",
}

# Keras's own layers whose inputs are strings.
_TEXT_LAYERS = frozenset({"TextVectorization", "StringLookup", "Hashing", "HashedCrossing"})

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


ModelBuilder = Callable[[LayerSpec, ModelSpec, BuildContext], "Layer | None"]
_model_builder: ModelBuilder | None = None
ModelReader = Callable[[Mapping[str, Any]], Layer]
_model_reader: ModelReader | None = None


def register(cls: LayerClass) -> LayerClass:
    """Class decorator: files may name this class."""
    _CLASSES[cls.__name__] = cls
    return cls


def register_operation(cls: LayerClass) -> LayerClass:
    """Class decorator: graphs of Keras 3 may name this operation; the class name may end in "Operation"."""
    _OPERATIONS[cls.__name__.removesuffix("Operation")] = cls
    return cls


def operation_classes() -> dict[str, type[Layer]]:
    """All registered operations by Keras's class name."""
    return dict(_OPERATIONS)


def set_model_builder(builder: ModelBuilder, reader: ModelReader) -> None:
    """Say how nested models are built from specs, and from configs (``models`` does, which may import
    ``layers`` but not the reverse)."""
    global _model_builder, _model_reader
    _model_builder, _model_reader = builder, reader


def layer_classes() -> dict[str, type[Layer]]:
    """All registered classes by Keras's class name."""
    return dict(_CLASSES)


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
        cls = {"keras": _CLASSES, "keras.ops": _OPERATIONS}.get(spec.origin, {}).get(spec.class_name)
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
        from unrolled.layers.custom import PythonLayer

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
            problem("", spec.class_name, "this layer of Keras reads text, which unrolled does not; apply it before "
                    "the model, and save the model without it")  # fmt: skip
            return None
        origin = "" if spec.origin in ("keras", spec.class_name) else f" from {spec.origin}"
        problem("", f"{spec.class_name}{origin}",
                "no built-in layer of this name is supported; custom code in a file is never run"
                f"{_OR_CUSTOM.format(printable(spec.class_name))}")  # fmt: skip
        return None

    before = len(problems)
    known = set(cls.config_keys())
    ignored = cls.ignored_keys()
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


def set_semantics(layer: Layer, semantics: Semantics) -> None:
    """Give a layer and those inside it the rules of a version."""
    layer.semantics = semantics
    for inner in layer.sublayers():
        set_semantics(inner, semantics)


# What changes serialised layers while a model is being written: see ``changing_serialized``.
Change = Callable[[Layer, "dict[str, Any]"], "dict[str, Any]"]
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
    UnsupportedModelError
        The layer inside is not supported.
    """
    if isinstance(value, list | tuple):
        return type(value)([deserialize_value(item) for item in value])
    if _is_model(value) and _model_reader is not None:
        return _model_reader(value)
    if not _is_layer(value):
        return value
    context = BuildContext(semantics_from(value["config"]))
    config = {key: _to_spec(item) for key, item in value["config"].items() if key != SEMANTICS}
    spec = LayerSpec(value["class_name"], str(config.get("name", value["class_name"])), config)
    layer = build_layer(spec, context)
    if context.problems or layer is None:
        raise UnsupportedModelError(context.problems)
    return layer


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


def _is_model(value: Any) -> bool:
    """Whether ``value`` is a model as Keras serialises it."""
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        return False
    return value.get("class_name") in ("Sequential", "Functional") and "layers" in value["config"]


def _is_layer(value: Any) -> bool:
    """Whether ``value`` is a layer as Keras serialises it; initializers may have a layer's name (Identity)."""
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        return False
    module = value.get("module")
    of_layers = not isinstance(module, str) or module.startswith(("keras.layers", "keras.src.layers"))
    return of_layers and value.get("class_name") in _CLASSES


def _to_spec(value: Any) -> Any:
    if _is_model(value):
        return deserialize_value(value)
    if isinstance(value, list | tuple):
        return [_to_spec(item) for item in value]
    if _is_layer(value):
        config = {key: _to_spec(item) for key, item in value["config"].items() if key != SEMANTICS}
        return LayerSpec(value["class_name"], str(config.get("name", value["class_name"])), config)
    return value
