# SPDX-License-Identifier: MIT
"""Lowering: layers write themselves as operations of a C++ plan over values that carry shape and mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from unrolled import _core
from unrolled.engine.locks import ForkSafeLock
from unrolled.engine.recording import Recorder
from unrolled.engine.variables import Holders, PlanCache, Variable, values_together
from unrolled.errors import StreamError
from unrolled.semantics import Semantics

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Flow:
    """A value on its way through a plan being built.

    Parameters
    ----------
    value : int
        The plan's id of the value.
    shape : tuple
        ``(batch, ...)``; ``None`` where only the input will tell.
    dtype : str
        "float32", "int32", "bool", or "string" (an array of bytes objects, for calls of Python functions alone).
    mask : int, optional
        The plan's id of the bool mask ``(batch, timesteps)`` that Keras would attach to this tensor.
    mask_rank : int
        The rank of that mask: 2, or more after Masking or Embedding on inputs of higher rank.
    is_sequence : bool
        In a plan for streams: whether axis 1 is the stream's time, so that later timesteps are still to come.
    """

    value: int
    shape: Shape
    dtype: str = "float32"
    mask: int | None = None
    mask_rank: int = 2
    is_sequence: bool = False

    def with_mask(self, mask: int | None, rank: int = 2) -> Flow:
        return replace(self, mask=mask, mask_rank=rank)

    def derive(self, value: int, shape: Shape, dtype: str = "float32") -> Flow:
        """A value computed from this one, under the same mask."""
        return Flow(value, tuple(shape), dtype, self.mask, self.mask_rank)


class LoweredLayer(Protocol):
    """A layer, as far as lowering asks of it beside its operations."""

    semantics: Semantics
    holders: Holders
    _plans: PlanCache

    @property
    def own_variables(self) -> list[Variable]: ...

    def walk(self) -> Iterator[LoweredLayer]:
        """The layer and everything inside it, once each."""


class StatefulLayer(Protocol):
    """A layer whose states live from call to call."""

    name: str

    def states_for(self, batch: int) -> list[NDArray[np.float32]]:
        """The stored states for a batch of this size, zeros at first."""

    def store_states(self, states: Sequence[NDArray[np.float32]]) -> None:
        """Keep the final states of a call."""


class CarriedState:
    """A state of a plan for streams: an input, and the output that is its value after the call.

    Parameters
    ----------
    layer : str
        Whose state it is.
    owner : int
        The call that it belongs to: a layer may be called several times.
    shape : tuple of int
        Of one row.
    dtype : str
        "float32", "int32", or "float64", which the plan sees as twice as many int32.
    initial : float
        What every element is at first.
    """

    def __init__(self, layer: str, owner: int, shape: Sequence[int], dtype: str, initial: float) -> None:
        self.layer = layer
        self.owner = owner
        self.shape = tuple(shape)
        self.dtype = dtype
        self.initial = initial
        self.value = -1
        self.next = -1

    @property
    def plan_dtype(self) -> str:
        return "int32" if self.dtype == "float64" else self.dtype

    @property
    def plan_shape(self) -> tuple[int, ...]:
        return (*self.shape[:-1], 2 * self.shape[-1]) if self.dtype == "float64" else self.shape


class CompiledPlan:
    """A plan with the states of its stateful layers, which are extra inputs and outputs of it.

    Parameters
    ----------
    plan : Plan
        Its inputs are the caller's, then the states that are read; outputs likewise.
    output_count : int
        How many outputs are the caller's.
    readers, writers : sequence of (StatefulLayer, int)
        Layers whose states are read and written, in order, and how many states each has.
    """

    def __init__(
        self,
        plan: _core.Plan,
        output_count: int,
        readers: Sequence[tuple[StatefulLayer, int]] = (),
        writers: Sequence[tuple[StatefulLayer, int]] = (),
    ) -> None:
        self.plan = plan
        self._output_count = output_count
        self._readers = tuple(readers)
        self._writers = tuple(writers)
        self._lock = ForkSafeLock()

    @property
    def is_stateful(self) -> bool:
        return bool(self._writers)

    def run(self, inputs: Sequence[NDArray[Any]], max_rows: int = 0) -> list[NDArray[Any]]:
        """The caller's outputs; states are fetched and stored."""
        if not self._writers:
            return self.plan.run(inputs, max_rows)
        with self._lock:
            states = [state for layer, _ in self._readers for state in layer.states_for(inputs[0].shape[0])]
            results = self.plan.run([*inputs, *states], max_rows)
            position = self._output_count
            for layer, count in self._writers:
                layer.store_states(results[position : position + count])
                position += count
        return results[: self._output_count]


class NeedsRecorderError(Exception):
    """What is being lowered calls Python functions: ``lowered`` starts again with a recorder."""


Result = TypeVar("Result")


def lowered(root: LoweredLayer, lower: Callable[[Lowering], Result]) -> Result:
    """``lower(plan)`` with a plan that records operations where a Python function is called in between."""
    try:
        return lower(Lowering(root))
    except NeedsRecorderError:
        return lower(Lowering(root, records=True))


class Lowering:
    """The plan being built: a function of layers, their weights at one moment, rules and options.

    ``ops`` is the C++ builder; its methods take and return value ids. Lowering writes to no layer, so any
    number of threads may lower one model at once.

    Parameters
    ----------
    root : LoweredLayer
        What is lowered. Its cache is emptied when a weight or an option in it changes.
    rules : mapping, optional
        By id of a layer, the rules that it follows here instead of its own.
    is_trial : bool
        Whether the plan will not be kept, so that no cache needs to hear of changes.
    is_streaming : bool
        Whether the plan is for streams: layers carry what they need to know of earlier timesteps (``carry``)
        and refuse what needs later ones.
    records : bool
        Whether operations are recorded, as calls of Python functions need; see ``lowered``.
    """

    def __init__(
        self,
        root: LoweredLayer,
        *,
        rules: Mapping[int, Semantics] | None = None,
        is_trial: bool = False,
        is_streaming: bool = False,
        records: bool = False,
        outer: Lowering | None = None,
    ) -> None:
        # A recorder has the builder's methods.
        self.ops = cast(_core.PlanBuilder, Recorder()) if records else _core.PlanBuilder()
        self.is_streaming = is_streaming
        self.is_nested = outer is not None
        self.carried: list[CarriedState] = []
        self._call_number = 0
        self._root = root
        self._rules = dict(rules or {})
        if outer is None:
            layers = list(root.walk())
            self._values = values_together(
                [variable for layer in layers for variable in layer.own_variables],
                None if is_trial else root._plans,
                [layer.holders for layer in layers],
            )
        else:
            self._values = outer._values
        self._readers: list[tuple[StatefulLayer, int]] = []
        self._writers: list[tuple[StatefulLayer, list[int]]] = []
        self._changed_masks: dict[int, tuple[int | None, int]] = {}

    def input(self, dtype: str, shape: Shape) -> Flow:
        """An input of the plan; text, of dtype "string", needs calls of Python functions to read it."""
        if dtype == "string" and not isinstance(self.ops, Recorder):
            raise NeedsRecorderError
        return Flow(self.ops.input(dtype, len(shape)), shape, dtype)

    def nested(self) -> Lowering:
        """A lowering of a plan inside this one; its weights count as this one's."""
        inner = Lowering(self._root, rules=self._rules, outer=self)
        if isinstance(self.ops, Recorder):
            inner.ops = cast(_core.PlanBuilder, self.ops.nested())
        return inner

    def semantics_of(self, layer: LoweredLayer) -> Semantics:
        """The rules that ``layer`` follows in this plan."""
        return self._rules.get(id(layer), layer.semantics)

    def call_python(
        self,
        layer: str,
        function: Callable[..., Sequence[NDArray[Any]]],
        operands: Sequence[int],
        outputs: Sequence[tuple[str, int]],
    ) -> list[int]:
        """Ids of what ``function`` gives for the arrays of ``operands``.

        Parameters
        ----------
        layer : str
            Whose function it is, for errors.
        function : callable
            Takes arrays, gives as many as ``outputs`` says.
        operands : sequence of int
            Ids of its arguments.
        outputs : sequence of (str, int)
            Dtype and rank of each result.

        Raises
        ------
        StreamError, ValueError
            In a stream, or inside a recurrence, where no Python function can run.
        """
        if self.is_streaming:
            raise StreamError(f"layer {layer!r} calls a Python function, which streams cannot")
        if self.is_nested:
            raise ValueError(
                f"layer {layer!r}: a Python function cannot run inside a recurrence; "
                "give an activation of unrolled.activations instead"
            )
        if not isinstance(self.ops, Recorder):
            raise NeedsRecorderError
        return self.ops.call(function, operands, outputs)

    def take_mask_away(self, value: int) -> None:
        """Have all later users of ``value`` see no mask.

        Keras keeps a mask on the tensor, which all its users share, and so do the tensors that a layer
        without effect (Dropout) gives back as they are.
        """
        self._changed_masks[value] = (None, 2)

    def give_mask_back(self, flow: Flow) -> None:
        """Undo it, by a mask that was given explicitly to a model called on ``flow``."""
        if flow.mask is not None and flow.value in self._changed_masks:
            self._changed_masks[flow.value] = (flow.mask, flow.mask_rank)

    def with_current_mask(self, flow: Flow) -> Flow:
        """``flow`` with the mask that its tensor has by now."""
        changed = self._changed_masks.get(flow.value)
        return flow if changed is None else flow.with_mask(*changed)

    def stored_states(self, layer: StatefulLayer, shapes: Sequence[Sequence[int]]) -> list[int]:
        """Ids of the states, of these shapes without the batch, that ``layer`` kept from its last call.

        Call after all inputs are declared.
        """
        if self.is_streaming:
            raise StreamError(
                f"layer {layer.name!r} is stateful, but its input is not one timestep of the stream at a time"
            )
        for writer, states in self._writers:
            if writer is layer:  # called before in this plan
                return states
        self._readers.append((layer, len(shapes)))
        return [self.ops.input("float32", 1 + len(shape)) for shape in shapes]

    def store_states(self, layer: StatefulLayer, states: Sequence[int]) -> None:
        """Have ``layer`` keep these values after the call."""
        self._writers = [(writer, old) for writer, old in self._writers if writer is not layer]
        self._writers.append((layer, list(states)))

    def begin_call(self) -> None:
        """Called before a layer is written into the plan: states carried from now on belong together."""
        self._call_number += 1

    def carry(
        self, layer: str, shape: Sequence[int | None], dtype: str = "float32", initial: float = 0.0
    ) -> CarriedState:
        """A state of ``layer`` from the timesteps before; its ``next`` must be set to the value after them."""
        sizes = [size for size in shape if size is not None]
        if len(sizes) < len(shape):
            raise StreamError(f"layer {layer!r}: the sizes after the timesteps must be known, got {shape}")
        state = CarriedState(layer, self._call_number, sizes, dtype, initial)
        state.value = self.ops.input(state.plan_dtype, len(shape) + 1)
        self.carried.append(state)
        return state

    def finish_stream(self, outputs: Sequence[int]) -> _core.Plan:
        """Build a plan that also takes and gives the states in ``carried``."""
        return self.ops.finish([*outputs, *(state.next for state in self.carried)])

    def written_states(self) -> list[int]:
        """Ids of the states that layers keep after the call."""
        return [value for _, states in self._writers for value in states]

    def finish(self, outputs: Sequence[int]) -> CompiledPlan:
        """Build the plan that gives ``outputs``."""
        extra = self.written_states()
        return CompiledPlan(
            self.ops.finish([*outputs, *extra]),
            len(outputs),
            self._readers,
            [(layer, len(states)) for layer, states in self._writers],
        )

    def weights(self, variable: Variable | None) -> NDArray[np.float32] | None:
        """The array of ``variable`` for packing; assigning it later rebuilds the plan."""
        return None if variable is None else self.packed(variable)

    def packed(self, variable: Variable | None) -> NDArray[np.float32]:
        """As ``weights``, for a variable that exists.

        Raises
        ------
        RuntimeError
            It does not: the layer has not been built.
        """
        if variable is None:
            raise RuntimeError("the layer has not been built: it has no weights to pack")
        return self._values[id(variable)]

    def as_float(self, x: Flow) -> Flow:
        """``x`` in float32, as Keras casts the input of a layer to its compute dtype."""
        if x.dtype == "float32":
            return x
        return replace(x, value=self.ops.cast(x.value, "float32"), dtype="float32")
