# SPDX-License-Identifier: MIT
"""Cells swept over time: what all recurrent layers share, with every option that changes inference.

Above 400 lines, as it is one class: options, states, masks and streams decide together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.engine import tree
from unrolled.engine.lowering import Flow, Lowering
from unrolled.layers.base import DRAWS_RANDOM_NUMBERS, Layer
from unrolled.layers.config_values import flag
from unrolled.layers.rnn.cell_steps import lower_step
from unrolled.layers.rnn.cells import (
    Cell,
)
from unrolled.spec import LayerFacts


class Recurrent(Layer):
    """Base of all recurrent layers: one or several cells swept over the timesteps of the input.

    Parameters
    ----------
    return_sequences : bool
        Give the output of every timestep, ``(batch, timesteps, units)``, instead of the last one.
    return_state : bool
        Give the final states after the output.
    go_backwards : bool
        Read the timesteps from last to first; a sequence output stays in that order.
    stateful : bool
        Start from the states of the last call; ``reset_state()`` zeroes them.
    unroll : bool
        Keras's unrolled loop. Changes nothing but one quirk: with ``go_backwards`` and
        ``zero_output_for_mask`` Keras zeroes the reversed outputs by the un-reversed mask.
    zero_output_for_mask : bool
        Give zeros at masked timesteps instead of the previous output.
    time_major : bool
        Keras 2 only: input and sequence output are ``(timesteps, batch, ...)``.
    """

    mask_rule: ClassVar = "passes with `return_sequences`"
    facts: ClassVar = LayerFacts(takes_states=True)
    input_ranks: ClassVar = (3,)
    # tf.keras writes out that there are none.
    call_arguments: ClassVar = frozenset({"constants"})

    def __init__(
        self,
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        time_major: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.return_sequences = flag("return_sequences", return_sequences)
        self.return_state = flag("return_state", return_state)
        self.go_backwards = flag("go_backwards", go_backwards)
        self.stateful = flag("stateful", stateful)
        self.unroll = flag("unroll", unroll)
        self.zero_output_for_mask = flag("zero_output_for_mask", zero_output_for_mask)
        self.time_major = flag("time_major", time_major)
        self.states: list[NDArray[np.float32]] | None = None

    @property
    def cells(self) -> list[Cell]:
        """The cells of one timestep, from the input to the output."""
        raise NotImplementedError

    # ------------------------------------------------------------------ shapes

    @property
    def state_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of all states without the batch, in Keras's order: per cell h, then c for LSTM."""
        return [(cell.units,) for cell in self.cells for _ in range(cell.state_count)]

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """The shape of the output of one timestep, without the batch."""
        return (self.cells[-1].units,)

    @property
    def channels(self) -> int:
        """How many channels the output has."""
        return self.cells[-1].units

    @property
    def is_fused(self) -> bool:
        """Whether the layer is one cell that the kernels run."""
        return len(self.cells) == 1 and self.cells[0].is_fused

    def compute_output_shape(self, input_shape: Any) -> Any:
        shape = input_shape if not isinstance(input_shape[0], list | tuple) else input_shape[0]
        batch, timesteps = (shape[1], shape[0]) if self.time_major else (shape[0], shape[1])
        sizes = self.output_sizes
        output: tuple[int | None, ...] = (batch, *sizes)
        if self.return_sequences:
            output = (timesteps, batch, *sizes) if self.time_major else (batch, timesteps, *sizes)
        if not self.return_state:
            return output
        return [output, *((batch, *shape) for shape in self.state_shapes)]

    def ensure_built(self, input_shape: Any) -> None:
        if isinstance(input_shape, list):
            input_shape = input_shape[0]
        super().ensure_built(input_shape)

    def build_weights(self, input_shape: Any) -> None:
        for cell in self.cells:
            cell.build((input_shape[0], input_shape[-1]))
            input_shape = (*input_shape[:-1], cell.units)

    def check_input_shape(self, input_shape: Any) -> None:
        super().check_input_shape(input_shape)
        self.check_features(input_shape)
        if self.stateful and self.declared_input_shape is not None:
            declared, got = self.declared_input_shape[0], input_shape[0]
            if declared is not None and got is not None and declared != got:
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}) is stateful with batch size {declared}, got {got}"
                )

    def check_features(self, input_shape: Any) -> None:
        """Raise ``ValueError`` unless ``input_shape`` fits the weights, where there are any."""
        kernel = self.cells[0].kernel
        if kernel is not None and input_shape[-1] is not None and input_shape[-1] != kernel.shape[0]:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected {kernel.shape[0]} features "
                f"on the last axis, got shape {tuple(input_shape)}"
            )

    @property
    def training_effect(self) -> str | None:
        configs = [layer.unused_config for layer in (self, *self.sublayers())]
        rates = [config.get(key) for config in configs for key in ("dropout", "recurrent_dropout")]
        return DRAWS_RANDOM_NUMBERS if any(rates) else None

    # ------------------------------------------------------------------ states

    def states_for(self, batch: int) -> list[NDArray[np.float32]]:
        """The stored states for a batch of this size, zeros at first."""
        if self.states is None:
            self.states = [np.zeros((batch, *shape), np.float32) for shape in self.state_shapes]
        if self.states[0].shape[0] != batch:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}) is stateful and holds the states of "
                f"{self.states[0].shape[0]} rows, got a batch of {batch}; call reset_state() to start anew"
            )
        return self.states

    def store_states(self, states: Sequence[NDArray[np.float32]]) -> None:
        """Keep the final states of a call."""
        self.states = list(states)

    def reset_state(self, states: Sequence[ArrayLike] | None = None) -> None:
        """Zero the stored states of a stateful layer, or set them.

        Parameters
        ----------
        states : sequence of array_like, optional
            One array ``(batch, ...)`` per state, in the order of ``return_state``.

        Raises
        ------
        ValueError
            The layer is not stateful, or the states do not fit it.
        """
        if not self.stateful:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}) is not stateful: it has no states to reset"
            )
        if states is None:
            self.states = None
            return
        arrays = [np.array(state, dtype=np.float32) for state in states]
        shapes = self.state_shapes
        if len(arrays) != len(shapes) or any(
            array.shape != (*arrays[0].shape[:1], *shape)
            for array, shape in zip(arrays, shapes, strict=False)
        ):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected {len(shapes)} states of shapes "
                f"{[('batch', *shape) for shape in shapes]}, got {[array.shape for array in arrays]}"
            )
        self.states = arrays

    # ---------------------------------------------------------------- lowering

    def lower_call(self, plan: Lowering, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs, hidden = hide_mask(plan, self, args, kwargs)
        result = super().lower_call(plan, args, kwargs)
        return result if hidden is None else show_mask(result, hidden, 1 if self.return_sequences else 0)

    def lower(self, plan: Lowering, x: Any, initial_state: Any = None, **kwargs: Any) -> Any:
        """See ``Layer.lower``.

        Parameters
        ----------
        plan : Lowering
            The plan being built.
        x : Flow, or list of Flow
            ``(batch, timesteps, features)``; in a list the initial states follow it (Keras 2's graphs).
        initial_state : Flow or tree of Flow, optional
            One per state, ``(batch, units)``.
        **kwargs
            None is known.
        """
        if kwargs:
            raise TypeError(f"layer {self.name!r} ({self.class_name}): unknown arguments {sorted(kwargs)}")
        x, states = split_states(x, initial_state)
        x = plan.as_float(x)
        check_mask(self, x)
        initial = self.initial_states(plan, states)
        output, final = self.lower_sweep(
            plan, self.to_batch_major(plan, x), initial, zero_output_for_mask=self.zero_output_for_mask
        )
        if self.stateful:
            plan.store_states(self, final)
        if self.return_sequences and self.time_major:
            output = plan.ops.transpose(output, (1, 0, 2))
        return self._result(x, output, final)

    def _result(self, x: Flow, output: int, final: Sequence[int]) -> Any:
        output_shape, *state_shapes = self._shapes(x)
        result = Flow(output, output_shape)
        if self.return_sequences:
            result = result.with_mask(x.mask, x.mask_rank)
        if not self.return_state:
            return result
        return [result, *(Flow(state, shape) for state, shape in zip(final, state_shapes, strict=True))]

    def _shapes(self, x: Flow) -> list[tuple[int | None, ...]]:
        shapes = self.compute_output_shape(x.shape)
        return shapes if self.return_state else [shapes]

    def initial_states(self, plan: Lowering, given: list[Flow]) -> list[int]:
        """Ids of the states to start from: those given, those stored, or none (zeros)."""
        shapes = self.state_shapes
        if given:
            if len(given) != len(shapes):
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): expected {len(shapes)} initial states, got {len(given)}"
                )
            values = [plan.as_float(state).value for state in given]
            if self.stateful and plan.semantics_of(self).stored_states_win:
                [flag] = plan.stored_states(_WhetherStored(self), [(1,)])
                stored = plan.stored_states(self, shapes)
                use_stored = plan.ops.cast(flag, "bool")
                values = [
                    plan.ops.select(use_stored, old, new) for old, new in zip(stored, values, strict=True)
                ]
            return values
        return plan.stored_states(self, shapes) if self.stateful else []

    def to_batch_major(self, plan: Lowering, x: Flow) -> Flow:
        """``x`` as ``(batch, timesteps, features)``, its mask ``(batch, timesteps)``."""
        if not self.time_major:
            return x
        return Flow(plan.ops.transpose(x.value, (1, 0, 2)), (x.shape[1], x.shape[0], x.shape[2])).with_mask(
            None if x.mask is None else plan.ops.transpose(x.mask, (1, 0))
        )

    def lower_stream(self, plan: Lowering, flows: Sequence[Flow], x: Any, *args: Any, **kwargs: Any) -> Any:
        obstacle = None
        if self.go_backwards:
            obstacle = "reads the timesteps from last to first (go_backwards)"
        elif self.time_major:
            obstacle = "takes axis 0 as time (time_major)"
        elif split_states(x, [args, kwargs])[1]:
            obstacle = "gets its initial state from elsewhere in the model"
        elif not all(flow.is_sequence for flow in flows):
            obstacle = "gets a mask that is not that of the stream"
        self.refuse_stream(obstacle, flows)
        x = plan.as_float(x)
        states = [plan.carry(self.name, shape) for shape in self.state_shapes]
        output, final = self.lower_sweep(
            plan,
            x,
            [state.value for state in states],
            zero_output_for_mask=self.zero_output_for_mask,
            continues=True,
        )
        for state, value in zip(states, final, strict=True):
            state.next = value
        result = self._result(x, output, final)
        first = result[0] if isinstance(result, list) else result
        first = replace(first, is_sequence=self.return_sequences)
        return [first, *result[1:]] if isinstance(result, list) else first

    def lower_sweep(
        self,
        plan: Lowering,
        x: Flow,
        initial: Sequence[int],
        *,
        zero_output_for_mask: bool,
        continues: bool = False,
    ) -> tuple[int, list[int]]:
        """The cells over time: ids of the output and of the final states."""
        need_states = self.return_state or self.stateful or continues
        unrolled_quirk = (
            self.unroll
            and self.go_backwards
            and zero_output_for_mask
            and self.return_sequences
            and x.mask is not None
        )
        value, final = x.value, []
        position = 0
        for number, cell in enumerate(self.cells):
            last = number == len(self.cells) - 1
            order: dict[str, Any] = {
                "read_reversed": self.go_backwards,
                # Between cells the sequence is in the input's order, so that the mask fits every cell.
                "write_reversed": self.go_backwards and not last,
                "zero_output_for_mask": zero_output_for_mask and last and not unrolled_quirk,
            }
            count = cell.state_count
            wanted: dict[str, Any] = {
                "mask": x.mask,
                "initial_states": initial[position : position + count],
                "return_sequences": self.return_sequences or not last,
                "return_state": need_states,
            }
            if cell.is_fused:
                value, *states = plan.ops.recurrent(
                    value, [cell.direction(plan, **order, continues=continues)], **wanted
                )
            else:
                value, *states = plan.ops.scan(
                    value,
                    lower_step(plan, cell),
                    state_shapes=[[cell.units]] * count,
                    masked_output_is_state=continues or cell.masked_output_is_state(plan),
                    **order,
                    **wanted,
                )
            final += states
            position += count
        if unrolled_quirk and x.mask is not None:
            value = plan.ops.apply_mask(value, x.mask)
        return value, final

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "unroll": self.unroll,
            "zero_output_for_mask": self.zero_output_for_mask,
        }
        if self.time_major:
            config["time_major"] = True
        return config


class _WhetherStored:
    """Reads as one state of ``layer``: 1 where any of its stored states is not 0."""

    def __init__(self, layer: Recurrent) -> None:
        self.name = layer.name
        self._layer = layer

    def states_for(self, batch: int) -> list[NDArray[np.float32]]:
        stored = any(state.any() for state in self._layer.states_for(batch))
        return [np.full((batch, 1), stored, np.float32)]

    def store_states(self, states: Sequence[NDArray[np.float32]]) -> None:
        """Nothing: the layer stores its own."""


def check_mask(layer: Layer, x: Flow) -> None:
    """Raise ``ValueError`` unless the mask of ``x`` is one of timesteps.

    Masks of further axes fit Keras's loop by the luck of sizes: as many as units, or 1.
    """
    if x.mask is not None and x.mask_rank != 2:
        raise ValueError(
            f"layer {layer.name!r} ({layer.class_name}): expected a mask (batch, timesteps), got one of rank "
            f"{x.mask_rank}"
        )


def hide_mask(
    plan: Lowering, layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], Flow | None]:
    """A call as the layer sees it where states hide the mask (``Semantics.states_hide_mask``).

    Returns
    -------
    args, kwargs
        The call; its sequence has no mask where that is hidden.
    hidden : Flow or None
        The sequence with its mask, which passes on.
    """
    kwargs = dict(kwargs)
    if kwargs.get("constants") in (None, []):
        kwargs.pop("constants", None)  # tf.keras writes it out for Bidirectional
    x = args[0] if args else None
    states = tree.leaves([list(args[1:]), kwargs.get("initial_state")])
    hides = (
        plan.semantics_of(layer).states_hide_mask
        and isinstance(x, Flow)
        and x.mask is not None
        and kwargs.get("mask") is None
        and any(isinstance(leaf, Flow) for leaf in states)
    )
    if not hides:
        return args, kwargs, None
    assert isinstance(x, Flow)
    return (x.with_mask(None), *args[1:]), kwargs, x


def show_mask(result: Any, hidden: Flow, count: int) -> Any:
    """``result`` with the mask of ``hidden`` on its first ``count`` outputs."""
    flows = result if isinstance(result, list) else [result]
    flows = [flow.with_mask(hidden.mask, hidden.mask_rank) for flow in flows[:count]] + flows[count:]
    return flows if isinstance(result, list) else flows[0]


def split_states(x: Any, initial_state: Any) -> tuple[Flow, list[Flow]]:
    """The sequence and the initial states, whether they came in a list or as an argument."""
    extra: list[Flow] = []
    if isinstance(x, list | tuple):
        x, *extra = x
    given = [leaf for leaf in tree.leaves([extra, initial_state]) if leaf is not None]
    return x, given
