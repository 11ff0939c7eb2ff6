# SPDX-License-Identifier: MIT
"""A model as a plan file: both plans, and what only Python needs to know of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from unrolled import _core
from unrolled.engine import tree
from unrolled.engine.lowering import Lowering, StatefulLayer
from unrolled.errors import Problem, StreamError, UnsupportedModelError
from unrolled.files import replacing
from unrolled.models.base import BaseModel

if TYPE_CHECKING:
    from unrolled.models.model import Model
    from unrolled.streaming.compiled import CompiledStream


def export_model(model: Model, path: str | PathLike[str]) -> None:
    """See ``Model.export``."""
    data = plan_file(model)
    with replacing(path) as file:
        file.write(data)


def plan_file(model: Model) -> bytes:
    """The content of a plan file; raises as ``Model.export``."""
    from unrolled.streaming.compiled import stream_dtype

    model.check_built()
    _check_layers(model)
    dtypes = [stream_dtype(model, tensor) for tensor in model.inputs]
    compiled, structure = model.lower_whole(_Exporting(model, is_trial=True), dtypes)
    stream = _compile_stream(model)
    inputs = [(tensor.name, dtype, tensor.shape) for tensor, dtype in zip(model.inputs, dtypes, strict=True)]
    description: dict[str, Any] = {
        "inputs": _numbered(model.input),
        "outputs": _to_json(structure),
    }
    if stream is not None:
        description["stream_outputs"] = _to_json(stream.structure)
        description["states"] = [[state.layer, state.owner, state.dtype] for state in stream.states]
    return _core.plan_file_bytes(
        name=model.name,
        description=json.dumps(description, separators=(",", ":")),
        inputs=inputs,
        outputs=_outputs(model.output, ""),
        plan=compiled.plan,
        stream_plan=None if stream is None else stream.plan,
        states=[] if stream is None else stream.core_arguments["states"],
        sequence_outputs=[] if stream is None else stream.sequence_outputs,
    )


def _check_layers(model: Model) -> None:
    problems = [
        Problem(
            layer.name,
            layer.class_name,
            "stateful",
            "True",
            "a plan file has no states between calls of predict; set layer.stateful = False, and use a stream",
        )
        for layer in model.walk()
        if getattr(layer, "stateful", False) and not isinstance(layer, BaseModel)
    ]
    if problems:
        raise UnsupportedModelError(problems, "the model has {things} that a plan file cannot hold")


def _compile_stream(model: Model) -> CompiledStream | None:
    """None where the model needs timesteps that are still to come."""
    from unrolled.streaming.compiled import CompiledStream

    try:
        return CompiledStream.lowered(model, _Exporting(model, is_streaming=True, is_trial=True))
    except StreamError:
        return None


class _Exporting(Lowering):
    """Refuses what no plan file can hold."""

    def call_python(
        self,
        layer: str,
        function: Callable[..., Sequence[NDArray[Any]]],
        operands: Sequence[int],
        outputs: Sequence[tuple[str, int]],
    ) -> list[int]:
        classes = [found.class_name for found in self._root.walk() if getattr(found, "name", None) == layer]  # type: ignore[attr-defined]
        problem = Problem(
            layer, classes[0] if classes else "", "", "a Python function", "a plan file holds no code"
        )
        raise UnsupportedModelError([problem], "the model has {things} that a plan file cannot hold")

    def stored_states(self, layer: StatefulLayer, shapes: Sequence[Sequence[int]]) -> list[int]:
        raise AssertionError(f"layer {layer.name!r} is stateful")


def _numbered(structure: Any) -> Any:
    return _to_json(tree.unflatten(structure, iter(range(len(list(tree.leaves(structure)))))))


def _to_json(structure: Any) -> Any:
    """A tree of numbers: a tuple is an object with one key, which no dict of a model has."""
    if isinstance(structure, tuple):
        return {"()": [_to_json(item) for item in structure]}
    if isinstance(structure, list):
        return [_to_json(item) for item in structure]
    if isinstance(structure, dict):
        return {key: _to_json(item) for key, item in structure.items()}
    return structure


def _outputs(described: Any, path: str) -> list[tuple[str, str, tuple[int | None, ...]]]:
    """Name, dtype and shape of every output in flattened order, of ``Model.output``."""
    if isinstance(described, dict):
        return [item for key in sorted(described) for item in _outputs(described[key], f"{path}/{key}")]
    if isinstance(described, list | tuple):
        return [
            item for index, part in enumerate(described) for item in _outputs(part, f"{path}/output_{index}")
        ]
    return [(path[1:] or "output", described.dtype, tuple(described.shape))]
