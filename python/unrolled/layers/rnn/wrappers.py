# SPDX-License-Identifier: MIT
"""Bidirectional and TimeDistributed: layers around a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import is_shape
from unrolled.layers.registry import register, serialize_layer
from unrolled.layers.rnn.sweeping import Recurrent, check_mask, hide_mask, show_mask, split_states
from unrolled.spec import LayerFacts

MERGE_MODES = ("concat", "sum", "mul", "ave", None)


@register
class Bidirectional(Layer):
    """A recurrent layer run over the timesteps in both directions, its two outputs merged.

    Source: keras 3.15 ``layers/rnn/bidirectional.py``. With ``return_sequences`` the mask passes through,
    and both directions give zeros at masked timesteps (as in tf.keras and Keras 3).

    Parameters
    ----------
    layer : Recurrent
        The forward layer.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How outputs are merged; None gives both.
    backward_layer : Recurrent, optional
        The backward layer; a copy of ``layer`` with ``go_backwards`` inverted where absent.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layer = layers.Bidirectional(layers.SimpleRNN(8, return_sequences=True))
    >>> layer(np.zeros((4, 10, 5), np.float32)).shape
    (4, 10, 16)
    """

    mask_rule: ClassVar = (
        "passes with `return_sequences`; masked steps are zeros then (stand-alone Keras to 2.3: "
        "the previous output)"
    )
    old_mask_rule: ClassVar = "masked steps repeat the previous output; Keras 3 gives zeros there"
    facts: ClassVar = LayerFacts(
        inner_layers=("layer", "forward_layer", "backward_layer"),
        takes_states=True,
        declares_input_inside=True,
    )
    # The layers inside check theirs.
    min_rank: ClassVar = 3
    stream_obstacle: ClassVar = "reads the sequence from its end too"
    call_arguments: ClassVar = frozenset({"constants"})

    def __init__(
        self, layer: Any, merge_mode: str | None = "concat", backward_layer: Any = None, **kwargs: Any
    ) -> None:
        self._check_child("layer", layer)
        if merge_mode not in MERGE_MODES:
            raise ConfigError("merge_mode", merge_mode, f"expected one of {MERGE_MODES}")
        if "name" not in kwargs or kwargs["name"] is None:
            kwargs["name"] = None
        super().__init__(**kwargs)
        self.merge_mode = merge_mode
        self.forward_layer = layer
        if self.declared_input_shape is None:
            self.declared_input_shape = layer.declared_input_shape
        if backward_layer is None:
            config = layer.get_config() | {
                "go_backwards": not layer.go_backwards,
                "name": f"backward_{layer.name}",
            }
            backward_layer = type(layer).from_config(config)
        else:
            self._check_child("backward_layer", backward_layer)
            for option in ("return_sequences", "return_state", "stateful"):
                if getattr(layer, option) != getattr(backward_layer, option):
                    raise ConfigError(
                        "backward_layer", backward_layer.name, f"its {option} must equal that of layer"
                    )
            if layer.go_backwards == backward_layer.go_backwards:
                raise ConfigError(
                    "backward_layer", backward_layer.name, "its go_backwards must differ from that of layer"
                )
        self.backward_layer = backward_layer
        if merge_mode in ("sum", "mul", "ave") and len({child.channels for child in self.children}) > 1:
            raise ConfigError("merge_mode", merge_mode, "both directions must have the same units")

    @staticmethod
    def _check_child(key: str, layer: Any) -> None:
        if not isinstance(layer, Recurrent):
            raise ConfigError(key, layer, "expected a recurrent layer (SimpleRNN, LSTM, GRU, RNN, ConvLSTM)")

    @property
    def children(self) -> tuple[Recurrent, Recurrent]:
        """The forward and the backward layer."""
        return self.forward_layer, self.backward_layer

    @property
    def return_sequences(self) -> bool:
        return bool(self.forward_layer.return_sequences)

    @property
    def return_state(self) -> bool:
        return bool(self.forward_layer.return_state)

    @property
    def stateful(self) -> bool:
        return bool(self.forward_layer.stateful)

    @property
    def tracked(self) -> dict[str, Any]:
        return {"forward_layer": self.forward_layer, "backward_layer": self.backward_layer}

    def reset_state(self) -> None:
        """Zero the stored states of both directions."""
        for child in self.children:
            child.reset_state()

    def ensure_built(self, input_shape: Any) -> None:
        if isinstance(input_shape, list):
            input_shape = input_shape[0]
        super().ensure_built(input_shape)

    def build_weights(self, input_shape: Any) -> None:
        for child in self.children:
            child.build(input_shape)

    def check_input_shape(self, input_shape: Any) -> None:
        super().check_input_shape(input_shape)
        for child in self.children:
            if child.built:
                child.check_input_shape(input_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        shapes = [child.compute_output_shape(input_shape) for child in self.children]
        outputs = [shape[0] if self.return_state else shape for shape in shapes]
        states = [state for shape in shapes for state in shape[1:]] if self.return_state else []
        if self.merge_mode == "concat":
            outputs = [(*outputs[0][:-1], outputs[0][-1] + outputs[1][-1])]
        elif self.merge_mode is not None:
            outputs = outputs[:1]
        result = [*outputs, *states]
        return result if len(result) > 1 else result[0]

    # ---------------------------------------------------------------- lowering

    def lower_call(self, plan: Lowering, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs, hidden = hide_mask(plan, self, args, kwargs)
        result = super().lower_call(plan, args, kwargs)
        count = (2 if self.merge_mode is None else 1) if self.return_sequences else 0
        return result if hidden is None else show_mask(result, hidden, count)

    def lower(self, plan: Lowering, x: Any, initial_state: Any = None, **kwargs: Any) -> Any:
        """See ``Layer.lower``; ``initial_state``: first half forward, second half backward."""
        if kwargs:
            raise TypeError(f"layer {self.name!r} ({self.class_name}): unknown arguments {sorted(kwargs)}")
        x, states = split_states(x, initial_state)
        x = plan.as_float(x)
        check_mask(self, x)
        half = len(states) // 2
        initial = [
            child.initial_states(plan, given)
            for child, given in zip(self.children, (states[:half], states[half:]), strict=True)
        ]
        if self._runs_as_one_sweep(x):
            values, final = self._lower_together(plan, x, initial)
        else:
            values, final = self._lower_apart(plan, x, initial)
        if self.stateful:
            for child, child_states in zip(self.children, final, strict=True):
                plan.store_states(child, child_states)
        all_states = [state for child_states in final for state in child_states] if self.return_state else []
        shapes = self.compute_output_shape(x.shape)
        shapes = shapes if isinstance(shapes, list) else [shapes]
        flows = [Flow(value, shape) for value, shape in zip([*values, *all_states], shapes, strict=True)]
        if self.return_sequences:
            flows[: len(values)] = [flow.with_mask(x.mask, x.mask_rank) for flow in flows[: len(values)]]
        return flows if len(flows) > 1 else flows[0]

    def _zero_output_for_mask(self, plan: Lowering, child: Recurrent) -> bool:
        if plan.semantics_of(self).bidirectional_zero_output:
            return self.return_sequences
        return bool(child.zero_output_for_mask)

    def _runs_as_one_sweep(self, x: Flow) -> bool:
        """Whether both directions are one cell each without the options that need operations of their own."""
        return not any(
            not child.is_fused or child.time_major or (child.unroll and x.mask is not None)
            for child in self.children
        )

    def _lower_together(
        self, plan: Lowering, x: Flow, initial: Sequence[list[int]]
    ) -> tuple[list[int], list[list[int]]]:
        directions = [
            child.cells[0].direction(
                plan,
                read_reversed=child.go_backwards,
                # The backward output is flipped along time; a last output has no time to flip.
                write_reversed=child is self.backward_layer,
                zero_output_for_mask=self._zero_output_for_mask(plan, child),
            )
            for child in self.children
        ]
        concat = self.merge_mode == "concat"
        results = plan.ops.recurrent(
            x.value,
            directions,
            mask=x.mask,
            initial_states=[state for states in initial for state in states],
            return_sequences=self.return_sequences,
            return_state=self.return_state or self.stateful,
            concatenate=concat,
        )
        outputs, states = (results[:1], results[1:]) if concat else (results[:2], results[2:])
        forward_count = len(self.forward_layer.state_shapes)
        final = [states[:forward_count], states[forward_count:]]
        return outputs if concat else self._merge(plan, outputs), final

    def _lower_apart(
        self, plan: Lowering, x: Flow, initial: Sequence[list[int]]
    ) -> tuple[list[int], list[list[int]]]:
        outputs, final = [], []
        for child, states in zip(self.children, initial, strict=True):
            value, child_states = child.lower_sweep(
                plan,
                child.to_batch_major(plan, x),
                states,
                zero_output_for_mask=self._zero_output_for_mask(plan, child),
            )
            if child is self.backward_layer and self.return_sequences:
                value = plan.ops.slice(value, axis=1, start=None, stop=None, step=-1)
            if child.time_major and self.return_sequences:
                value = plan.ops.transpose(value, (1, 0, 2))
            outputs.append(value)
            final.append(child_states)
        return self._merge(plan, outputs), final

    def _merge(self, plan: Lowering, outputs: Sequence[int]) -> list[int]:
        forward, backward = outputs
        if self.merge_mode is None:
            return [forward, backward]
        if self.merge_mode == "concat":
            axis = len(self.forward_layer.output_sizes) + self.return_sequences
            return [plan.ops.concatenate([forward, backward], axis=axis)]
        if self.merge_mode == "mul":
            return [plan.ops.binary("multiply", forward, backward)]
        total = plan.ops.binary("add", forward, backward)
        if self.merge_mode == "ave":
            import numpy as np

            total = plan.ops.binary("divide", total, plan.ops.constant(np.array(2.0, np.float32)))
        return [total]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "layer": serialize_layer(self.forward_layer),
            "merge_mode": self.merge_mode,
            "backward_layer": serialize_layer(self.backward_layer),
        }


@register
class TimeDistributed(Layer):
    """A layer applied to every timestep on its own, masked or not.

    Source: keras 3.15 ``layers/rnn/time_distributed.py``; mask rule by version, see
    ``Semantics.time_distributed_mask``.

    Parameters
    ----------
    layer : Layer
        Takes the input without its timesteps axis.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.TimeDistributed(layers.Dense(4))(np.zeros((2, 7, 3), np.float32)).shape
    (2, 7, 4)
    """

    mask_rule: ClassVar = "Keras 3: passes; before: that of the layer inside, else any() over further axes"
    old_mask_rule: ClassVar = "the mask after it is that of the layer inside; Keras 3: the mask that came in"
    facts: ClassVar = LayerFacts(inner_layers=("layer",))
    stream_obstacle: ClassVar = None

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        if not isinstance(layer, Layer):
            raise ConfigError("layer", layer, "expected a layer")
        super().__init__(**kwargs)
        self.layer = layer

    @property
    def tracked(self) -> dict[str, Any]:
        return {"layer": self.layer}

    def check_input_shape(self, input_shape: Any) -> None:
        if is_shape(input_shape) and len(input_shape) < 2:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected (batch, timesteps, ...), "
                f"got shape {tuple(input_shape)}"
            )
        if self.built:
            self.layer.check_input_shape(self._inner_shape(input_shape))

    @staticmethod
    def _inner_shape(input_shape: Any) -> tuple[int | None, ...]:
        # The inner batch is batch * timesteps: known only where both are, and nothing needs it.
        return (None, *input_shape[2:])

    def build_weights(self, input_shape: Any) -> None:
        self.layer.build(self._inner_shape(input_shape))

    def compute_output_shape(self, input_shape: Any) -> Any:
        inner = self.layer.compute_output_shape(self._inner_shape(input_shape))
        if isinstance(inner, list):
            raise ValueError(
                f"layer {self.name!r} (TimeDistributed): the inner layer {self.layer.name!r} "
                "has several outputs, which is not supported"
            )
        return (*input_shape[:2], *inner[1:])

    def output_dtype(self, input_dtype: str) -> str:
        return self.layer.output_dtype(input_dtype)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        if getattr(self.layer, "stateful", False) and x.shape[1] != 1 and not plan.is_streaming:
            raise ValueError(
                f"layer {self.name!r} (TimeDistributed): the stateful inner layer {self.layer.name!r} would go on "
                "from timestep to timestep, which is not supported"
            )
        inner = Flow(plan.ops.merge_time(x.value), self._inner_shape(x.shape), x.dtype)
        if x.mask is not None:
            inner = inner.with_mask(plan.ops.merge_time(x.mask), x.mask_rank - 1)
        output = self.layer.lower(plan, inner, **kwargs)
        if not isinstance(output, Flow):
            raise ValueError(
                f"layer {self.name!r} (TimeDistributed): the inner layer {self.layer.name!r} "
                "has several outputs, which is not supported"
            )
        result = Flow(
            plan.ops.split_time(output.value, x.value), self.compute_output_shape(x.shape), output.dtype
        )
        passed = inner.mask is not None and output.mask == inner.mask
        return result.with_mask(*(x.mask, x.mask_rank) if passed else self._output_mask(plan, x, output))

    def _output_mask(self, plan: Lowering, x: Flow, output: Flow) -> tuple[int | None, int]:
        rule = plan.semantics_of(self).time_distributed_mask
        by_steps = rule == "inner_of_any_batch" or getattr(self.layer, "stateful", False)
        if rule == "input" or (x.shape[0] is not None and by_steps):
            return x.mask, x.mask_rank
        if output.mask is not None:
            return plan.ops.split_time(output.mask, x.value), output.mask_rank + 1
        if x.mask is None or x.mask_rank == 2:
            return x.mask, x.mask_rank
        return plan.ops.reduce(x.mask, kind="any", axes=tuple(range(2, x.mask_rank))), 2

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"layer": serialize_layer(self.layer)}
