# SPDX-License-Identifier: MIT
"""ConvLSTM1D, ConvLSTM2D, ConvLSTM3D: an LSTM over images in time, its products being convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.convolution.spatial import (
    channels_last,
    from_last,
    restore_format,
)
from unrolled.layers.registry import register
from unrolled.layers.rnn.cells import CELL_IGNORED
from unrolled.layers.rnn.conv_cells import ConvLSTMCell
from unrolled.layers.rnn.sweeping import Recurrent
from unrolled.spec import LayerFacts


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
        kernel_size: object,
        strides: object = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: object = 1,
        activation: object = "tanh",
        recurrent_activation: object = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: object = "glorot_uniform",
        recurrent_initializer: object = "orthogonal",
        bias_initializer: object = "zeros",
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
