# SPDX-License-Identifier: MIT
"""A model as the service sees it: names, shapes and datatypes of its tensors, checked requests, flat outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.errors import StreamError
from unrolled.layers.base import Layer
from unrolled.models import Model
from unrolled.serving.options import Options
from unrolled.serving.protocol import (
    Arrays,
    ServingError,
    TensorMetadata,
    check_model_name,
    datatype_of,
)

# Timesteps of the first prediction where the model leaves them open: some layers need more than one.
WARM_UP_LENGTHS = (8, 64, 512, 4096)

# Of each output: a small request of a model of many units must not fill the memory.
MOST_OUTPUT_ELEMENTS = 1 << 26


class ServedModel:
    """A model under a name, warmed up: its weights are packed, so that forked workers share them.

    Parameters
    ----------
    name : str
        Part of its URLs.
    model : Model
        Loaded, with weights.
    options : Options
        The limits of a request.

    Raises
    ------
    ValueError
        The name does not fit a URL, or the model cannot run.
    """

    def __init__(self, name: str, model: Model, options: Options) -> None:
        self.name = check_model_name(name)
        self.model = model
        self._options = options
        self._tensors = model.inputs
        self.dtypes = [model.input_dtype(tensor, np.zeros(0, np.int32)) for tensor in self._tensors]
        self.input_names = [tensor.name for tensor in self._tensors]
        if len(set(self.input_names)) < len(self.input_names):
            raise ValueError(f"model {name!r}: two inputs have one name: {self.input_names}")
        self.is_stateful = has_states(model)
        outputs = self._warm_up()
        self.output_names = name_outputs(outputs)
        flat = list(tree.leaves(outputs))
        shapes = list(_shapes(model.output_shape))
        self._output_ranks = [len(shape) for shape in shapes]
        self.inputs = [
            TensorMetadata(tensor.name, datatype_of(np.dtype(dtype)), _open_sizes(tensor.shape))
            for tensor, dtype in zip(self._tensors, self.dtypes, strict=True)
        ]
        self.outputs = [
            TensorMetadata(output, datatype_of(array.dtype), _open_sizes(shape))
            for output, array, shape in zip(self.output_names, flat, shapes, strict=True)
        ]
        self.why_no_sequences = self._warm_up_stream()

    def _warm_up(self) -> Any:
        """Run once, so that the plan is made and the weights are packed."""
        refusal: ValueError | None = None
        for length in WARM_UP_LENGTHS:
            shapes = [[size or length for size in tensor.shape[1:]] for tensor in self._tensors]
            rows = self._tensors[0].shape[0] if self.is_stateful else None
            arrays = [
                np.zeros((rows or 1, *shape), dtype) for shape, dtype in zip(shapes, self.dtypes, strict=True)
            ]
            try:
                outputs = self.model.predict(self._whole(arrays), verbose=0)
            except ValueError as error:
                refusal = refusal or error
                continue
            if self.is_stateful:
                self.model.reset_state()
            return outputs
        raise ValueError(f"model {self.name!r} does not run: {refusal}") from refusal

    def _warm_up_stream(self) -> str | None:
        """Make the plan of streams too; why not, where the model cannot run as one."""
        try:
            pool = self.model.stream_pool(1)
            pool.step([pool.open()], self.structured([np.zeros((1, *shape), dtype) for shape, dtype in
                                                      zip(self.step_shapes, self.dtypes, strict=True)]))  # fmt: skip
        except StreamError as error:
            return str(error)
        return None

    @property
    def step_shapes(self) -> list[tuple[int, ...]]:
        """Of each input, the shape of one timestep without the batch."""
        return [tuple(size or 1 for size in tensor.shape[2:]) for tensor in self._tensors]

    @property
    def is_causal(self) -> bool:
        """Whether the model can run as a sequence."""
        return self.why_no_sequences is None

    def metadata(self) -> dict[str, Any]:
        """The protocol's description, and whether the model takes sequences."""
        return {
            "name": self.name,
            "versions": ["1"],
            "platform": "unrolled_keras",
            "inputs": [tensor.described() for tensor in self.inputs],
            "outputs": [tensor.described() for tensor in self.outputs],
            "parameters": {"sequences": self.is_causal},
        }

    # ----------------------------------------------------------------- requests

    def take(self, inputs: Arrays) -> list[NDArray[Any]]:
        """The arrays of a request in the model's order, checked as far as it is cheap.

        Raises
        ------
        ServingError
            Names, ranks, sizes or limits do not fit.
        """
        arrays = self._by_name(inputs)
        for tensor, array in zip(self._tensors, arrays, strict=True):
            if array.ndim != tensor.ndim or not _fits(tensor.shape[1:], array.shape[1:]):
                raise self._misfit(tensor.name, _open_sizes(tensor.shape), array.shape)
        rows = arrays[0].shape[0]
        if any(array.shape[0] != rows for array in arrays):
            raise ServingError(400, f"inputs have different batch sizes: {[len(array) for array in arrays]}")
        if self.is_stateful:
            raise ServingError(400, f"model {self.name!r} has stateful layers: give a sequence_id")
        self._check_extent(rows, max([array.shape[1] for array in arrays if array.ndim > 1], default=1))
        return arrays

    def take_steps(self, inputs: Arrays) -> tuple[list[NDArray[Any]], bool]:
        """The arrays of a request of a sequence, ``(1, timesteps, ...)``, and whether the time axis was there.

        Raises
        ------
        ServingError
            As ``take``, and where there is more than one row, or the model takes no sequences.
        """
        if self.why_no_sequences is not None:
            raise ServingError(400, self.why_no_sequences)
        arrays = self._by_name(inputs)
        ranks = {array.ndim - len(shape) for array, shape in zip(arrays, self.step_shapes, strict=True)}
        has_time = ranks == {2}
        if not has_time and ranks != {1}:
            raise ServingError(
                400,
                f"a request of a sequence carries (1, ...) or (1, timesteps, ...), got "
                f"{[list(array.shape) for array in arrays]}",
            )
        if not has_time:
            arrays = [array[:, None] for array in arrays]
        timesteps = arrays[0].shape[1]
        for name, array, shape in zip(self.input_names, arrays, self.step_shapes, strict=True):
            if array.shape != (1, timesteps, *shape) or timesteps < 1:
                raise self._misfit(name, (1, -1, *shape), array.shape)
        self._check_extent(1, timesteps)
        return arrays, has_time

    def _by_name(self, inputs: Arrays) -> list[NDArray[Any]]:
        if len(inputs) != len(self.input_names) or any(name not in inputs for name in self.input_names):
            raise ServingError(
                400, f"model {self.name!r}: expected the inputs {self.input_names}, got {list(inputs)!r:.300}"
            )
        return [inputs[name] for name in self.input_names]

    def _misfit(self, name: str, expected: Sequence[int], got: Sequence[int]) -> ServingError:
        return ServingError(
            400, f"model {self.name!r}, input {name!r}: expected shape {list(expected)}, got {list(got)}"
        )

    def _check_extent(self, rows: int, timesteps: int) -> None:
        """Refuse what would take too long, or give more than there is memory for."""
        limits = self._options
        if rows > limits.max_rows:
            raise ServingError(413, f"{rows} rows, at most {limits.max_rows} in one request")
        if rows * timesteps > limits.max_timesteps:
            raise ServingError(
                413, f"{rows * timesteps} timesteps, at most {limits.max_timesteps} in one request"
            )
        for tensor in self.outputs:
            elements = rows * math.prod(timesteps if size < 0 else size for size in tensor.shape[1:])
            if elements > MOST_OUTPUT_ELEMENTS:
                raise ServingError(
                    413, f"output {tensor.name!r} would have {elements} elements: ask for less"
                )

    # ------------------------------------------------------------------ outputs

    def predict(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs in flattened order."""
        return list(tree.leaves(self.model.predict(self._whole(arrays), verbose=0)))

    def _whole(self, arrays: Sequence[NDArray[Any]]) -> Any:
        return arrays[0] if len(arrays) == 1 else list(arrays)

    def structured(self, arrays: Sequence[NDArray[Any]]) -> Any:
        """The arrays in the structure of the model's inputs, as streams take them."""
        return tree.unflatten(self.model.input, iter(arrays))

    def with_time(self, outputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs of one step as those of a block: sequences have their time axis, of one timestep."""
        return [
            array[:, None] if array.ndim < rank else array
            for array, rank in zip(outputs, self._output_ranks, strict=True)
        ]

    def named(self, outputs: Sequence[NDArray[Any]], wanted: Sequence[str] | None) -> Arrays:
        """The outputs by name, those wanted."""
        by_name = dict(zip(self.output_names, outputs, strict=True))
        return by_name if wanted is None else {name: by_name[name] for name in wanted}

    def check_wanted(self, wanted: Sequence[str] | None) -> None:
        """Raise ``ServingError`` where the model has no such output."""
        for name in wanted or ():
            if name not in self.output_names:
                raise ServingError(
                    400, f"model {self.name!r} has no output {name!r:.60}; it has {self.output_names}"
                )


def has_states(layer: Layer) -> bool:
    """Whether the layer, or one inside it, carries states from one prediction to the next."""
    return getattr(layer, "stateful", False) is True or any(has_states(inner) for inner in layer.sublayers())


def name_outputs(result: Any) -> list[str]:
    """Names for what ``predict`` returned, in flattened order."""
    if isinstance(result, np.ndarray):
        return ["output"]
    if isinstance(result, dict) and all(isinstance(array, np.ndarray) for array in result.values()):
        return sorted(result)
    return [f"output_{index}" for index, _ in enumerate(tree.leaves(result))]


def _shapes(described: Any) -> Any:
    """The shapes of the outputs in flattened order; a tuple of sizes is a leaf."""
    if isinstance(described, dict):
        for key in sorted(described):
            yield from _shapes(described[key])
    elif isinstance(described, list):
        for item in described:
            yield from _shapes(item)
    else:
        yield described


def _open_sizes(shape: Sequence[int | None]) -> tuple[int, ...]:
    """A shape as the protocol writes it: any number of rows, -1 where a size is open."""
    return (-1, *(-1 if size is None else size for size in shape[1:]))


def _fits(expected: Sequence[int | None], got: Sequence[int]) -> bool:
    return all(want is None or want == size for want, size in zip(expected, got, strict=True))
