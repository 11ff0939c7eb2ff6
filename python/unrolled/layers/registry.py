# SPDX-License-Identifier: MIT
"""Class names of files to our layer classes. Nothing is imported because a file says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from unrolled.errors import ConfigError, Problem, UnsupportedModelError, printable
from unrolled.layers.base import Layer
from unrolled.semantics import KERAS_3, Semantics
from unrolled.spec import LayerSpec, ModelSpec, UnsupportedValue

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

# A retry drops a bad key so that the next bad one shows too; more than this many are not worth listing.
MAX_PROBLEMS_PER_LAYER = 20

ModelBuilder = Callable[[LayerSpec, ModelSpec, Semantics, list[Problem]], "Layer | None"]
_model_builder: ModelBuilder | None = None


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


def set_model_builder(builder: ModelBuilder) -> None:
    """Say how nested models are built (``models`` does, which may import ``layers`` but not the reverse)."""
    global _model_builder
    _model_builder = builder


def layer_classes() -> dict[str, type[Layer]]:
    """All registered classes by Keras's class name."""
    return dict(_CLASSES)


def build_layer(spec: LayerSpec, semantics: Semantics, problems: list[Problem]) -> Layer | None:
    """Make the layer that ``spec`` describes.

    Parameters
    ----------
    spec : LayerSpec
        From a file.
    semantics : Semantics
        The rules of the version that wrote it.
    problems : list of Problem
        Everything unsupported is appended.

    Returns
    -------
    Layer or None
        None where something was unsupported.
    """

    def problem(key: str, found: object, supported: str) -> None:
        problems.append(Problem(spec.name, spec.class_name, key, str(found), supported))

    if spec.model is not None:
        if _model_builder is None:
            raise RuntimeError("unrolled.models has not been imported")
        return _model_builder(spec, spec.model, semantics, problems)
    if spec.class_name in REFUSED:
        what = spec.config.get("function")
        problem("", f"{spec.class_name} {what!r}" if isinstance(what, str) else spec.class_name,
                REFUSED[spec.class_name])  # fmt: skip
        return None
    registered = {"keras": _CLASSES, "keras.ops": _OPERATIONS}.get(spec.origin, {})
    cls = registered.get(spec.class_name)
    if cls is None:
        origin = "" if spec.origin == "keras" else f" from {spec.origin}"
        problem("", f"{spec.class_name}{origin}",
                "no built-in layer of this name is supported; custom code in a file is never run")  # fmt: skip
        return None

    before = len(problems)
    known = set(cls.config_keys())
    ignored = cls.ignored_keys()
    arguments: dict[str, Any] = {"name": spec.name}
    for key, value in spec.config.items():
        if key in ignored:
            continue
        if key not in known:
            problem(key, value, f"{spec.class_name} has no such option in any supported Keras version")
        elif isinstance(value, UnsupportedValue):
            problem(key, value.description, "code and custom objects in a file are never decoded or run")
        else:
            arguments[key] = _build_inner(value, semantics, problems)
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
            set_semantics(layer, semantics)
            return layer if len(problems) == before else None
    return None


def _build_inner(value: Any, semantics: Semantics, problems: list[Problem]) -> Any:
    if isinstance(value, LayerSpec):
        return build_layer(value, semantics, problems)
    if isinstance(value, list | tuple):
        return type(value)([_build_inner(item, semantics, problems) for item in value])
    return value


def set_semantics(layer: Layer, semantics: Semantics) -> None:
    """Give a layer and those inside it the rules of a version."""
    layer.semantics = semantics
    for inner in layer.sublayers():
        set_semantics(inner, semantics)


def serialize_layer(layer: Layer) -> dict[str, Any]:
    """A layer inside a config, as Keras 3 writes it."""
    return {
        "module": "keras.layers",
        "class_name": layer.class_name,
        "config": layer.get_config(),
        "registered_name": None,
    }


def deserialize_value(value: Any) -> Any:
    """A config value, layers in Keras's serialised form made into layers.

    Raises
    ------
    UnsupportedModelError
        The layer inside is not supported.
    """
    if isinstance(value, list | tuple):
        return type(value)([deserialize_value(item) for item in value])
    if not _is_layer(value):
        return value
    problems: list[Problem] = []
    config = {key: _to_spec(item) for key, item in value["config"].items()}
    spec = LayerSpec(value["class_name"], str(config.get("name", value["class_name"])), config)
    layer = build_layer(spec, KERAS_3, problems)
    if problems or layer is None:
        raise UnsupportedModelError(problems)
    return layer


def _is_layer(value: Any) -> bool:
    """Whether ``value`` is a layer as Keras serialises it; initializers may have a layer's name (Identity)."""
    if not isinstance(value, dict) or not isinstance(value.get("config"), dict):
        return False
    module = value.get("module")
    of_layers = not isinstance(module, str) or module.startswith(("keras.layers", "keras.src.layers"))
    return of_layers and value.get("class_name") in _CLASSES


def _to_spec(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_to_spec(item) for item in value]
    if _is_layer(value):
        config = {key: _to_spec(item) for key, item in value["config"].items()}
        return LayerSpec(value["class_name"], str(config.get("name", value["class_name"])), config)
    return value
