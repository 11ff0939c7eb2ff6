# SPDX-License-Identifier: MIT
"""Autoregression: forecasts fed back, and tokens drawn one after another; the loop is in C++."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from unrolled import _core
from unrolled.engine import tree
from unrolled.errors import StreamError
from unrolled.layers.symbolic import KerasTensor
from unrolled.models.inputs import check_inputs, convert_input
from unrolled.streaming.compiled import stream_dtype

if TYPE_CHECKING:
    from unrolled.models.model import Model
    from unrolled.streaming.stream import Stream


class CoreArguments(TypedDict):
    """What the C++ loops take."""

    feed: str
    steps: int
    width: int
    temperature: float
    top_k: int
    from_logits: bool
    seed: int


def generate(
    model: Model,
    x: Any,
    steps: int,
    *,
    window: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    seed: int | None = None,
    from_logits: bool = False,
) -> NDArray[Any]:
    """See ``Model.generate``."""
    model.check_built()
    tensor, width = ends(model)
    arguments = core_arguments(
        model, tensor, width, steps, temperature=temperature, top_k=top_k, seed=seed, from_logits=from_logits
    )
    given = check_inputs(model, x)[0] if window is None else np.asarray(x)
    if given.ndim != tensor.ndim or given.shape[0] < 1 or given.shape[1] < 1:
        raise ValueError(
            f"expected (batch, timesteps, ...) with at least one of each, got shape {given.shape}"
        )
    if window is None and tensor.shape[1] is not None:
        window = tensor.shape[1]
    if window is not None:
        if isinstance(window, bool) or not isinstance(window, int | np.integer) or window < 1:
            raise ValueError(f"window: expected a positive integer, got {window!r}")
        if given.shape[1] < window:
            raise ValueError(f"window: expected at least {window} timesteps, got {given.shape[1]}")
        return _from_window(model, given[:, -window:], arguments)
    try:
        stream = model.stream(given.shape[0])
    except StreamError as error:
        raise StreamError(f"{error}; window= generates from the last timesteps only") from None
    outputs = stream.run(given)
    return _from_stream(stream, outputs, arguments)


def ends(model: Model) -> tuple[KerasTensor, int]:
    """The only input, and the size of the only output."""
    outputs = list(tree.leaves(_shapes(model.output_shape)))
    if len(model.inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"model {model.name!r}: generate needs a model of one input and one output")
    width = outputs[0].sizes[-1]
    if width is None or len(outputs[0].sizes) not in (2, 3):
        raise ValueError(
            f"model {model.name!r}: generate needs an output (batch, size) or (batch, timesteps, size), "
            f"got {outputs[0].sizes}"
        )
    return model.inputs[0], width


class _Sizes:
    def __init__(self, sizes: tuple[int | None, ...]) -> None:
        self.sizes = sizes


def _shapes(shapes: Any) -> Any:
    """A tree of shapes with the shapes as leaves."""
    if isinstance(shapes, dict):
        return {key: _shapes(value) for key, value in shapes.items()}
    if isinstance(shapes, list):
        return [_shapes(value) for value in shapes]
    return _Sizes(tuple(shapes))


def core_arguments(
    model: Model,
    tensor: KerasTensor,
    width: int,
    steps: Any,
    *,
    temperature: float | None,
    top_k: int | None,
    seed: int | None,
    from_logits: bool,
) -> CoreArguments:
    """The arguments of ``Model.generate``, checked against the model.

    Raises
    ------
    ValueError
        One is out of range, or the model's output cannot be its input.
    """
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 0:
        raise ValueError(f"steps: expected an integer from 0 on, got {steps!r}")
    if temperature is not None and not (np.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"temperature: expected a number from 0 on, got {temperature!r}")
    if top_k is not None and (
        isinstance(top_k, bool) or not isinstance(top_k, int | np.integer) or top_k < 1
    ):
        raise ValueError(f"top_k: expected a positive integer, got {top_k!r}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
        raise ValueError(f"seed: expected an integer from 0 on, got {seed!r}")
    draws = temperature is not None or top_k is not None or from_logits
    if stream_dtype(model, tensor) == "int32":
        feed = "ids"
        tables = model.vocabularies()
        if tensor.ndim != 2 or width > min(tables, default=0):
            raise ValueError(
                f"model {model.name!r}: its output has {width} tokens, but its embedding takes ids below "
                f"{min(tables, default=0)}"
            )
    else:
        feed = "one_hot" if draws else "values"
        if tensor.ndim != 3 or tensor.shape[-1] != width:
            raise ValueError(
                f"model {model.name!r}: its output of size {width} cannot be its next input, "
                f"{tensor.shape} without its timesteps"
            )
    default = 1.0 if top_k is not None or (seed is not None and draws) else 0.0
    return CoreArguments(
        feed=feed,
        steps=int(steps),
        width=width,
        temperature=float(default if temperature is None else temperature),
        top_k=int(top_k or 0),
        from_logits=bool(from_logits),
        seed=secrets.randbits(64) if seed is None else int(seed) % 2**64,
    )


def _from_stream(stream: Stream, outputs: NDArray[Any], arguments: CoreArguments) -> NDArray[Any]:
    last = outputs[:, -1] if outputs.ndim == 3 else outputs
    return stream._core.generate(np.ascontiguousarray(last), **arguments)


def _from_window(model: Model, given: NDArray[Any], arguments: CoreArguments) -> NDArray[Any]:
    dtype = "int32" if arguments["feed"] == "ids" else "float32"
    array = convert_input(given, dtype, model.inputs[0].name)
    compiled, _ = model.compiled_for([array])
    if compiled.is_stateful:
        raise ValueError(f"model {model.name!r} is stateful: generate from a stream of it instead")
    return _core.generate_from_window(compiled.plan, array, **arguments)
