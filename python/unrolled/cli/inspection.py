# SPDX-License-Identifier: MIT
"""What a model file holds and needs: the report behind ``unrolled check``."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from unrolled.errors import ModelFileError, Problem, UnsupportedModelError, printable
from unrolled.formats import read_model
from unrolled.layers.registry import layer_classes
from unrolled.models import Model
from unrolled.models.loading import build_from_file
from unrolled.models.saving import differing_layers
from unrolled.spec import LayerSpec, ModelFile, ModelSpec, facts_of

# Keys that every layer has, and keys that decide how training starts.
_NOT_INFERENCE = {"name", "trainable", "seed", "unit_forget_bias"}
# What keys without a default of their own have in nearly every file.
_USUAL = {"data_format": "channels_last", "dtype": "float32"}


@dataclass(frozen=True)
class LayerReport:
    """One layer of a file.

    Parameters
    ----------
    name, class_name : str
        As the file has them.
    inside : str or None
        The name of the layer or model that holds it; None at the top.
    options : dict
        The options that change inference and differ from their defaults; layers stand as their class.
    """

    name: str
    class_name: str
    inside: str | None
    options: dict[str, Any]


@dataclass
class Report:
    """What ``inspect_file`` found.

    Parameters
    ----------
    format, keras_version : str or None
        None where reading failed before they were known.
    model : Model or None
        The loaded model; None where it is not supported.
    layers : list of LayerReport
        Every layer, those inside of wrappers, cells and nested models after the one that holds them.
    differences : list of str
        What Keras 3.15 would compute differently from the version that wrote the file.
    problems : list of Problem
        Everything that is not supported.
    """

    format: str | None = None
    keras_version: str | None = None
    model: Model | None = None
    layers: list[LayerReport] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def inspect_file(path: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> Report:
    """Read, build and lower a model, and say what was found instead of raising for what is unsupported.

    Parameters
    ----------
    path, weights : path-like
        As ``load_model`` takes them.

    Returns
    -------
    Report

    Raises
    ------
    ModelFileError, FileNotFoundError
        As ``load_model``.
    """
    report = Report()
    try:
        file = read_model(path, weights)
    except UnsupportedModelError as error:
        report.problems = list(error.problems)
        return report
    report.format, report.keras_version = file.format, file.keras_version
    specs = list(_walk(file.spec))
    report.layers = [
        LayerReport(spec.name, spec.class_name, inside, _options(spec)) for spec, inside in specs
    ]
    report.differences = list(_differences(file, [spec for spec, _ in specs]))
    try:
        model = build_from_file(file)
    except UnsupportedModelError as error:
        report.problems = list(error.problems)
        return report
    if file.weights is None:
        # The plan is made to see whether it can be: no weights are wanted, and random ones may cost minutes.
        for variable in model.weights:
            variable.start_with_zeros()
    try:
        model.compile_plan([tensor.dtype for tensor in model.inputs])
    except (ValueError, TypeError) as error:
        raise ModelFileError(f"the model loads, but does not run: {error}") from error
    report.differences += _mask_differences(model)
    report.model = model
    return report


def _walk(model: ModelSpec, inside: str | None = None) -> Iterator[tuple[LayerSpec, str | None]]:
    """Every layer with the name of what holds it, once each, in the order of the file."""
    seen: set[int] = set()
    pending: list[tuple[Any, str | None]] = [(layer, inside) for layer in model.layers]
    while pending:
        value, holder = pending.pop(0)
        if isinstance(value, LayerSpec) and id(value) not in seen:
            seen.add(id(value))
            yield value, holder
            inner = [*value.config.values(), *(value.model.layers if value.model is not None else [])]
            pending = [(item, value.name) for item in inner] + pending
        elif isinstance(value, list | tuple):
            pending = [(item, holder) for item in value] + pending


def _options(spec: LayerSpec) -> dict[str, Any]:
    cls = None if spec.model is not None else layer_classes().get(spec.class_name)
    if cls is None or spec.origin != "keras":
        return {}
    ignored = cls.ignored_keys()
    defaults = _defaults(cls) | _defaults(getattr(cls, "cell_class", object))
    hidden = _NOT_INFERENCE | ({"dtype"} if spec.class_name == "InputLayer" else set())
    return {
        key: _shown(value)
        for key, value in spec.config.items()
        if key not in ignored
        and key not in hidden
        and not key.endswith("_initializer")
        and not (key in _USUAL and value == _USUAL[key])
        and not (key in defaults and _is_default(value, defaults[key]))
    }


def _defaults(cls: type) -> dict[str, Any]:
    """The defaults of the constructors of a class and its bases."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base is not object and "__init__" in base.__dict__:
            parameters = inspect.signature(base.__dict__["__init__"]).parameters
            found |= {
                name: parameter.default
                for name, parameter in parameters.items()
                if parameter.default is not parameter.empty
            }
    return found


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, list | tuple) and value:  # [1] for 1
        return all(_is_default(item, default) for item in value)
    if value is None or isinstance(value, str | bool | int | float):
        return bool(value == default) or (value == "linear" and default is None)
    return False


def _shown(value: Any) -> Any:
    """``value`` as JSON: a layer or other object as its class, an array as its shape."""
    if isinstance(value, LayerSpec):
        return value.class_name
    if value == "hard_sigmoid_v2":
        return "hard_sigmoid"  # as the file says; which one it is stands with the differences
    if isinstance(value, dict) and isinstance(value.get("class_name"), str):
        return value["class_name"]
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    shape = getattr(value, "shape", None)
    return f"array {tuple(shape)}" if shape is not None else str(getattr(value, "description", value))


def _differences(file: ModelFile, layers: list[LayerSpec]) -> Iterator[str]:
    """Where this model's numbers would differ under the rules of Keras 3.15, one sentence each."""

    old = [layer.name for layer in layers if "hard_sigmoid_v2" in map(_text, layer.config.values())]
    if old:
        yield (
            f"hard_sigmoid of {', '.join(map(repr, old))} is clip(0.2 x + 0.5, 0, 1), as the Keras that "
            "wrote the file has it; Keras 3 computes clip(x / 6 + 0.5, 0, 1)"
        )
    if _before(file.keras_version, 2, 2):
        gru = [layer.name for layer in layers if facts_of(layer.class_name).has_reset_after]
        gru = [name for name in gru if not _reset_after(name, layers)]
        if gru:
            yield (
                f"GRU {', '.join(map(repr, gru))} has reset_after=False, which files of this age need not "
                "say; Keras 3 takes True where they do not"
            )


def _mask_differences(model: Model) -> Iterator[str]:
    """Layers whose rule for masks is another today, where a mask or state that makes a difference arrives."""
    for layer in differing_layers(model):
        name = printable(layer.name)
        yield f"{layer.class_name} {name!r}: {layer.old_mask_rule}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _before(version: str, major: int, minor: int) -> bool:
    match = re.match(r"(\d{1,4})(?:\.(\d{1,4}))?", version)
    return match is not None and (int(match[1]), int(match[2] or 0)) < (major, minor)


def _reset_after(name: str, layers: list[LayerSpec]) -> bool:
    return any(layer.name == name and layer.config.get("reset_after") is True for layer in layers)
