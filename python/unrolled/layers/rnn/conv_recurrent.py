# SPDX-License-Identifier: MIT
"""ConvLSTM1D, ConvLSTM2D, ConvLSTM3D: an LSTM over images in time, its products being convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from unrolled import _core, activations, initializers
from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import flag, positive_int
from unrolled.layers.convolution.spatial import (
    channels_last,
    checked_output,
    format_name,
    from_last,
    padding_name,
    restore_format,
    sizes,
    to_last,
    window_output,
)
from unrolled.layers.registry import register
from unrolled.layers.rnn.cells import CELL_IGNORED, cell_activation
from unrolled.layers.rnn.recurrent import Recurrent
from unrolled.spec import LayerFacts, set_facts

LINEAR = _core.Activation("linear")


class ConvLSTMCell(Layer):
    """The weights and options of one timestep of a ConvLSTM.

    Source: keras 3.15 ``layers/rnn/conv_lstm.py``. Parameters as in ``ConvLSTM``, and:

    Parameters
    ----------
    rank : int
        How many spatial axes there are.
    """

    ignored_config: ClassVar = CELL_IGNORED

    def __init__(
        self,
        rank: int,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rank = rank
        self.filters = positive_int("filters", filters)
        self.kernel_size = sizes("kernel_size", kernel_size, rank)
        self.strides = sizes("strides", strides, rank)
        self.padding = padding_name(padding)
        self.data_format = format_name(data_format)
        self.dilation_rate = sizes("dilation_rate", dilation_rate, rank)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ConfigError("dilation_rate", dilation_rate, "Keras has no dilation together with strides")
        self.activation = cell_activation("activation", activation)
        self.recurrent_activation = cell_activation("recurrent_activation", recurrent_activation)
        if self.data_format == "channels_first":
            for key in ("activation", "recurrent_activation"):
                if not getattr(self, key).is_elementwise:
                    raise ConfigError(
                        key, getattr(self, key).name, "only elementwise ones work on channels_first"
                    )
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.recurrent_initializer = initializers.get(recurrent_initializer, "recurrent_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self.unit_forget_bias = flag("unit_forget_bias", unit_forget_bias)
        self.kernel: Any = None
        self.recurrent_kernel: Any = None
        self.bias: Any = None
        # Of the states, channels last; known once built, as Keras takes fixed spatial sizes only.
        self.state_sizes: tuple[int, ...] = ()

    def _initial_bias(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        bias = np.array(self.bias_initializer(shape))
        if self.unit_forget_bias:
            bias[self.filters : 2 * self.filters] = 1.0
        return bias

    def build_weights(self, input_shape: Any) -> None:
        self.state_sizes = self.output_sizes(input_shape)
        channels = to_last(input_shape, self.data_format)[-1]
        assert channels is not None  # output_sizes checked
        columns = 4 * self.filters
        self.kernel = self.add_weight(
            "kernel", (*self.kernel_size, channels, columns), self.kernel_initializer
        )
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel", (*self.kernel_size, self.filters, columns), self.recurrent_initializer
        )
        if self.use_bias:
            self.bias_initializer.check_shape((columns,))
            self.bias = self.add_weight("bias", (columns,), self._initial_bias)

    def output_sizes(self, input_shape: Any) -> tuple[int, ...]:
        """The shape of the states for ``(batch, ...)`` of one timestep: channels last, without the batch.

        Raises
        ------
        ValueError
            A size is not known, or the kernel does not fit the input.
        """
        last = to_last(input_shape, self.data_format)
        if any(size is None for size in last[1:]):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): the spatial sizes and the channels of the input "
                f"must be known, got shape {tuple(input_shape)}"
            )
        spatial = [
            window_output(size, window, stride, self.padding, dilation)
            for size, window, stride, dilation in zip(
                last[1:-1], self.kernel_size, self.strides, self.dilation_rate, strict=True
            )
        ]
        shape = checked_output(self, (last[0], *spatial, 4 * self.filters), input_shape)
        return (*(int(size) for size in shape[1:-1] if size is not None), self.filters)

    def convolve_input(self, plan: Lowering, x: Flow) -> int:
        """The input's part of all gates, ``(batch, ..., 4 filters)``; ``x`` is channels last."""
        return plan.ops.convolution(
            x.value,
            plan.packed(self.kernel),
            plan.weights(self.bias),
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation_rate,
            groups=1,
            activation=LINEAR,
        )

    def lower_step(self, plan: Lowering) -> _core.Plan:
        """A plan from the input's part of the gates, h and c to h', h' and c', all channels last."""
        step = plan.nested()
        ops = step.ops
        rank = self.rank + 2
        x, hidden, carry = (ops.input("float32", rank) for _ in range(3))
        recurrent = ops.convolution(
            hidden,
            step.packed(self.recurrent_kernel),
            None,
            strides=[1] * self.rank,
            padding="same",
            dilation=[1] * self.rank,
            groups=1,
            activation=LINEAR,
        )
        total = ops.binary("add", x, recurrent)

        def gate(index: int, activation: activations.Activation) -> int:
            start = index * self.filters
            block = ops.slice(total, axis=rank - 1, start=start, stop=start + self.filters)
            return activate(block, activation)

        def activate(value: int, activation: activations.Activation) -> int:
            return activations.lower(step, Flow(value, (None, *self.state_sizes)), activation).value

        # Gate blocks i, f, c, o.
        i = gate(0, self.recurrent_activation)
        f = gate(1, self.recurrent_activation)
        candidate = gate(2, self.activation)
        o = gate(3, self.recurrent_activation)
        carry = ops.binary("add", ops.binary("multiply", f, carry), ops.binary("multiply", i, candidate))
        hidden = ops.binary("multiply", o, activate(carry, self.activation))
        return ops.finish([hidden, hidden, carry])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": self.activation.serialize(),
            "recurrent_activation": self.recurrent_activation.serialize(),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "unit_forget_bias": self.unit_forget_bias,
        }


# Files name the layers that hold the cell, never the cell.
set_facts("ConvLSTMCell", LayerFacts(gates=4, theano_flips=2))


class ConvLSTM(Recurrent):
    """An LSTM whose products are convolutions: gate blocks i, f, c, o; c' = f c + i g, h' = o activation(c').

    Source: keras 3.15 ``layers/rnn/conv_lstm.py``; tf_keras 2.21 ``layers/rnn/base_conv_rnn.py`` for masks.
    Input ``(batch, timesteps, spatial..., channels)``, all sizes but batch and timesteps fixed; states and
    output ``(batch, windows..., filters)``. The mask passes through with ``return_sequences``.

    Parameters
    ----------
    filters : int
        Channels of the output and of the states.
    kernel_size, strides, padding, data_format, dilation_rate
        Of the input's convolution; the states are convolved by a kernel of the same size with stride 1,
        padding "same" and no dilation.
    activation, recurrent_activation : str
        Of candidate and output, "tanh"; of the gates, "sigmoid".
    use_bias : bool
        Whether there is a bias.
    kernel_initializer, recurrent_initializer, bias_initializer
        Where fresh weights start.
    unit_forget_bias : bool
        Fresh weights only: the forget gate's bias starts at one.
    **kwargs
        Options of ``Recurrent``, ``input_shape`` and the like.
    """

    keras_versions: ClassVar = "2, 3"
    facts: ClassVar = LayerFacts(takes_states=True, recurrent_activation="convolutional")
    old_mask_rule: ClassVar = (
        "masked steps repeat the previous output; Keras 3 gives zeros under Bidirectional"
    )
    ignored_config: ClassVar = CELL_IGNORED
    spatial_rank: ClassVar[int]

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.time_major:
            raise ConfigError("time_major", True, "ConvLSTM layers take the batch first")
        self.cell = ConvLSTMCell(
            self.spatial_rank, filters, kernel_size, strides, padding, data_format, dilation_rate,
            activation, recurrent_activation, use_bias, kernel_initializer, recurrent_initializer,
            bias_initializer, unit_forget_bias,
            trainable=self.trainable, dtype=self.dtype, name="conv_lstm_cell",
        )  # fmt: skip

    @property
    def tracked(self) -> dict[str, Any]:
        return {"cell": self.cell}

    @property
    def filters(self) -> int:
        return self.cell.filters

    # ------------------------------------------------------------------ shapes

    @property
    def state_shapes(self) -> list[tuple[int, ...]]:
        return [self.output_sizes] * 2

    @property
    def output_sizes(self) -> tuple[int, ...]:
        shape = from_last((None, *self.cell.state_sizes), self.cell.data_format)
        return tuple(size for size in shape[1:] if size is not None)

    @property
    def channels(self) -> int:
        return self.cell.filters

    @property
    def is_fused(self) -> bool:
        return False

    def compute_output_shape(self, input_shape: Any) -> Any:
        if not self.cell.state_sizes:
            shape = input_shape[0] if isinstance(input_shape[0], list | tuple) else input_shape
            self.cell.state_sizes = self.cell.output_sizes((shape[0], *shape[2:]))
        return super().compute_output_shape(input_shape)

    def build_weights(self, input_shape: Any) -> None:
        self.cell.build((input_shape[0], *input_shape[2:]))
        for axis in range(2, len(input_shape)):
            self.expect_size(input_shape, axis)

    def check_features(self, input_shape: Any) -> None:
        """Nothing to do: every size is remembered since the layer was built."""

    # ---------------------------------------------------------------- lowering

    def lower_sweep(
        self,
        plan: Lowering,
        x: Flow,
        initial: Sequence[int],
        *,
        zero_output_for_mask: bool,
        continues: bool = False,
    ) -> tuple[int, list[int]]:
        cell = self.cell
        layout = cell.data_format
        # All timesteps at once: the input's part of the gates needs no state.
        frames = channels_last(plan, Flow(plan.ops.merge_time(x.value), (None, *x.shape[2:])), layout)
        gates = plan.ops.split_time(cell.convolve_input(plan, frames), x.value)
        state_shape = from_last((None, *cell.state_sizes), layout)
        masked = x.mask is not None
        zero = zero_output_for_mask and plan.semantics_of(self).convolutional_zero_output
        quirk = masked and zero and self.unroll and self.go_backwards and self.return_sequences
        value, *final = plan.ops.scan(
            gates,
            cell.lower_step(plan),
            state_shapes=[cell.state_sizes] * 2,
            mask=x.mask,
            initial_states=[channels_last(plan, Flow(state, state_shape), layout).value for state in initial],
            return_sequences=self.return_sequences,
            return_state=self.return_state or self.stateful or continues,
            read_reversed=self.go_backwards,
            zero_output_for_mask=zero and not quirk,
            masked_output_is_state=continues or plan.semantics_of(self).masked_output == "state",
        )
        if quirk and x.mask is not None:
            value = plan.ops.apply_mask(value, x.mask)
        last_shape = (None, *cell.state_sizes)
        states = [restore_format(plan, Flow(state, last_shape), layout).value for state in final]
        if layout == "channels_first":
            rank = self.spatial_rank + 2
            lead = [0, 1] if self.return_sequences else [0]
            offset = len(lead) - 1
            axes = (*lead, rank - 1 + offset, *range(1 + offset, rank - 1 + offset))
            value = plan.ops.transpose(value, axes)
        return value, states

    def get_config(self) -> dict[str, Any]:
        cell = {key: value for key, value in self.cell.get_config().items() if key != "name"}
        return cell | super().get_config()


@register
class ConvLSTM1D(ConvLSTM):
    """A ConvLSTM over sequences of signals, ``(batch, timesteps, width, channels)``. See ``ConvLSTM``.

    Source: keras 3.15 ``layers/rnn/conv_lstm1d.py``. The mask passes through with ``return_sequences``.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.ConvLSTM1D(4, 3, padding="same")(np.zeros((2, 7, 9, 3), np.float32)).shape
    (2, 9, 4)
    """

    spatial_rank: ClassVar = 1
    input_ranks: ClassVar = (4,)


@register
class ConvLSTM2D(ConvLSTM):
    """A ConvLSTM over sequences of images, ``(batch, timesteps, rows, columns, channels)``. See ``ConvLSTM``.

    Source: keras 3.15 ``layers/rnn/conv_lstm2d.py``. The mask passes through with ``return_sequences``.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layer = layers.ConvLSTM2D(4, 3, return_sequences=True)
    >>> layer(np.zeros((2, 7, 8, 8, 3), np.float32)).shape
    (2, 7, 6, 6, 4)
    """

    keras_versions: ClassVar = "1, 2, 3"
    spatial_rank: ClassVar = 2
    input_ranks: ClassVar = (5,)


@register
class ConvLSTM3D(ConvLSTM):
    """A ConvLSTM over sequences of volumes, ``(batch, timesteps, a, b, c, channels)``. See ``ConvLSTM``.

    Source: keras 3.15 ``layers/rnn/conv_lstm3d.py``. The mask passes through with ``return_sequences``.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.ConvLSTM3D(2, 2)(np.zeros((1, 3, 4, 4, 4, 1), np.float32)).shape
    (1, 3, 3, 3, 2)
    """

    spatial_rank: ClassVar = 3
    input_ranks: ClassVar = (6,)
