# SPDX-License-Identifier: MIT
"""A model lowered for streams: the plan, the states that it carries, and what goes in and out."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from unrolled import _core
from unrolled.engine import tree
from unrolled.engine.lowering import CarriedState, Flow, Lowering
from unrolled.engine.variables import assign_together
from unrolled.errors import StreamError
from unrolled.layers.symbolic import KerasTensor
from unrolled.models.inputs import convert_input

if TYPE_CHECKING:
    from unrolled.models.model import Model

State = dict[str, list[NDArray[Any]]]

# The key of a state that says how many timesteps its rows have seen.
TIMESTEPS_SEEN = "timesteps_seen"


class CoreArguments(TypedDict):
    """What ``_core.Stream`` and ``_core.StreamPool`` are made of."""

    input_shapes: list[tuple[int, ...]]
    states: list[tuple[str, tuple[int, ...], float]]
    sequence_outputs: list[bool]
    convert: Any


class CompiledStream:
    """A model as a plan that runs one timestep, or several, after those before.

    Parameters
    ----------
    model : Model
        Whose plan it is.
    plan : Plan
        Takes the inputs and the states, gives the outputs and the states after them.
    dtypes : sequence of str
        Of the inputs.
    structure : tree of int
        The structure of the outputs, with their numbers as leaves.
    sequence_outputs : sequence of bool
        Whether an output has a time axis.
    states : sequence of CarriedState
        In the order of the plan.
    weights : sequence of ndarray
        The weights of the model as they are in the plan.
    """

    def __init__(
        self,
        model: Model,
        plan: _core.Plan,
        *,
        dtypes: Sequence[str],
        structure: Any,
        sequence_outputs: Sequence[bool],
        states: Sequence[CarriedState],
        weights: Sequence[NDArray[Any]] = (),
    ) -> None:
        self.model_name = model.name
        self.plan = plan
        self.inputs = model.inputs
        self.input_structure = tree.unflatten(model.input, iter(range(len(self.inputs))))
        self.dtypes = list(dtypes)
        self.structure = structure
        self.sequence_outputs = list(sequence_outputs)
        self.states = list(states)
        self.keys = state_keys(self.states)
        self._option_changes = model._plans.option_changes
        self._weights = list(weights)

    @classmethod
    def lowered(cls, model: Model, lowering: Lowering) -> CompiledStream:
        """``model`` lowered once more; its weights are packed as they are when ``lowering`` is made.

        Raises
        ------
        StreamError
            A layer needs timesteps that are still to come.
        """
        dtypes = [stream_dtype(model, tensor) for tensor in model.inputs]
        flows = []
        for tensor, dtype in zip(model.inputs, dtypes, strict=True):
            if tensor.dtype == "string":
                raise StreamError(
                    f"model {model.name!r}, input {tensor.name!r}: reads text, whose words are looked up in Python, "
                    "which streams cannot: stream ids, from a model without the layers that read text"
                )
            if tensor.ndim < 2 or None in tensor.shape[2:]:
                raise StreamError(
                    f"model {model.name!r}, input {tensor.name!r}: expected (batch, timesteps, ...) with every "
                    f"size after the timesteps known, got {tensor.shape}"
                )
            value = lowering.ops.input(dtype, tensor.ndim)
            shape = (tensor.shape[0], None, *tensor.shape[2:])
            flows.append(Flow(value, shape, dtype, is_sequence=True))
        try:
            result = model.lower(lowering, tree.unflatten(model.input, iter(flows)))
        except StreamError as error:
            raise StreamError(f"model {model.name!r} cannot run as a live stream: {error}") from None
        outputs = list(tree.leaves(result))
        return cls(
            model,
            lowering.finish_stream([flow.value for flow in outputs]),
            dtypes=dtypes,
            structure=tree.unflatten(result, iter(range(len(outputs)))),
            sequence_outputs=[flow.is_sequence for flow in outputs],
            states=lowering.carried,
            # As they are in the plan; arrays of weights are never written to, so that this copies nothing.
            weights=[lowering.packed(variable) for variable in model.weights],
        )

    @classmethod
    def of(cls, model: Model) -> CompiledStream:
        """The model compiled, from its cache where its weights are still the same."""
        model.check_built()
        return model._plans.get_or_compile("stream", model.compile_stream)

    def model_as_compiled(self, model: Model) -> Model:
        """``model``, or a copy of it with the weights that it had when it was compiled.

        Raises
        ------
        ValueError
            Options of its layers have been changed since: nothing could go on from a state alone.
        """
        if model._plans.option_changes != self._option_changes:
            raise ValueError(
                f"model {self.model_name!r} has been changed since the stream was made, which cannot be copied "
                "or pickled any more; make a stream of the changed model"
            )
        weights = model.weights
        if all(variable.numpy() is value for variable, value in zip(weights, self._weights, strict=True)):
            return model
        other = copy.deepcopy(model)
        assign_together(list(zip(other.weights, self._weights, strict=True)))
        return other

    # ---------------------------------------------------------- inputs, outputs

    def output_shapes(self, rows: int, timesteps: int = 1) -> list[tuple[int, ...]]:
        """The shapes of the outputs of a block, time axis included."""
        inputs = [(rows, timesteps, *shape) for shape in self.core_arguments["input_shapes"]]
        states = [(rows, *state.plan_shape) for state in self.states]
        return self.plan.output_shapes([*inputs, *states])[: len(self.sequence_outputs)]

    @property
    def core_arguments(self) -> CoreArguments:
        return CoreArguments(
            input_shapes=[tuple(int(size or 0) for size in tensor.shape[2:]) for tensor in self.inputs],
            states=[(state.plan_dtype, state.plan_shape, state.initial) for state in self.states],
            sequence_outputs=self.sequence_outputs,
            convert=self.convert,
        )

    @property
    def is_plain(self) -> bool:
        """Whether there is one input and one output, neither in a structure."""
        return isinstance(self.structure, int) and isinstance(self.input_structure, int)

    def convert(self, index: int, value: Any) -> NDArray[Any]:
        """What came for an input, as the plan takes it."""
        array = np.asarray(value)
        tensor = self.inputs[index]
        if array.dtype.kind not in "fiub":
            raise ValueError(
                f"input {tensor.name!r}: expected numbers of shape {tensor.shape}, got dtype {array.dtype}"
            )
        return convert_input(array, self.dtypes[index], tensor.name)

    def flatten(self, x: Any) -> Any:
        """Inputs in the structure of the model, as the C++ classes take them: one array, or a list."""
        if isinstance(self.input_structure, int):
            return x
        if isinstance(self.input_structure, Mapping):
            if not isinstance(x, Mapping) or set(x) != set(self.input_structure):
                raise ValueError(f"expected a dict with keys {list(self.input_structure)}")
            return list(tree.leaves({key: x[key] for key in self.input_structure}))
        if isinstance(x, Mapping):
            names = [tensor.name for tensor in self.inputs]
            if set(x) != set(names):
                raise ValueError(f"expected a dict with keys {names}, got {list(x)}")
            x = [x[name] for name in names]
        if not isinstance(x, list | tuple) or len(x) != len(self.inputs):
            raise ValueError(f"expected a list of {len(self.inputs)} inputs")
        return list(x) if len(x) > 1 else x[0]

    def unflatten(self, outputs: Any) -> Any:
        """Outputs of the C++ classes in the structure of the model."""
        if isinstance(self.structure, int):
            return outputs
        flat = outputs if isinstance(outputs, list) else [outputs]
        return tree.unflatten(self.structure, iter(flat))

    # ------------------------------------------------------------------- states

    def initial_states(self, rows: int) -> list[NDArray[Any]]:
        """The plan's states before the first timestep."""
        return [np.full((rows, *state.plan_shape), state.initial, state.plan_dtype) for state in self.states]

    def to_state(self, arrays: Sequence[NDArray[Any]], timesteps_seen: Sequence[int]) -> State:
        """The plan's states as plain arrays by layer name."""
        result: State = {key: [] for key in self.keys}
        for key, state, array in zip(self.keys, self.states, arrays, strict=True):
            result[key].append(array.view(np.float64) if state.dtype == "float64" else array)
        result[TIMESTEPS_SEEN] = [np.asarray(timesteps_seen, np.int64)]
        return result

    def from_state(self, given: State, rows: int) -> tuple[list[NDArray[Any]], list[int]]:
        """The plan's states and the timesteps seen, checked.

        Raises
        ------
        ValueError
            ``given`` is not a state of this model for so many rows.
        """
        expected = {*self.keys, TIMESTEPS_SEEN}
        if not isinstance(given, Mapping) or set(given) != expected:
            got = str(sorted(map(str, given))) if isinstance(given, Mapping) else type(given).__name__
            raise ValueError(f"state: expected a dict with keys {sorted(expected)}, got {got}")
        left = {key: list(given[key]) for key in expected}
        arrays = []
        for key, state in zip(self.keys, self.states, strict=True):
            wanted = (rows, *state.shape)
            array = np.asarray(left[key].pop(0)) if left[key] else None
            if array is None or array.shape != wanted or array.dtype != state.dtype:
                found = "nothing" if array is None else f"{array.dtype} {array.shape}"
                raise ValueError(f"state of {key!r}: expected {state.dtype} {wanted}, got {found}")
            array = np.ascontiguousarray(array)
            arrays.append(array.view(np.int32) if state.dtype == "float64" else array)
        seen = np.asarray(left.pop(TIMESTEPS_SEEN)[:1])
        if seen.shape != (1, rows) or seen.dtype.kind not in "iu" or (seen < 0).any():
            raise ValueError(f"state of {TIMESTEPS_SEEN!r}: expected [int64 ({rows},)], none below 0")
        for key, rest in left.items():
            if rest:
                raise ValueError(f"state of {key!r}: {len(rest)} arrays too many")
        return arrays, [int(count) for count in seen[0]]


def stream_dtype(model: Model, tensor: KerasTensor) -> str:
    """The dtype of an input: int32 for the ids of embeddings."""
    return model.input_dtype(tensor, np.zeros(0, np.int32))


def state_keys(states: Sequence[CarriedState]) -> list[str]:
    """A key for each state: its layer's name, and a number where calls of different layers share one."""
    keys: list[str] = []
    owners: dict[str, int] = {}
    for state in states:
        key, number = state.layer, 1
        while owners.setdefault(key, state.owner) != state.owner or key == TIMESTEPS_SEEN:
            number += 1
            key = f"{state.layer}#{number}"
        keys.append(key)
    return keys
