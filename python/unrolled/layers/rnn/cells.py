# SPDX-License-Identifier: MIT
"""Recurrent cells: the weights and options of one timestep. The loop over timesteps is in ``recurrent``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from unrolled import _core, activations, initializers
from unrolled.engine.lowering import Lowering
from unrolled.engine.variables import Variable
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import TRAINING_ONLY, flag, positive_int
from unrolled.layers.registry import register, serialize_layer
from unrolled.spec import LayerFacts

# Options of cells, and of the layers that hold one, that cannot change what a trained cell computes.
CELL_IGNORED = {
    **TRAINING_ONLY,
    "dropout": "active in training only",
    "recurrent_dropout": "active in training only",
    "seed": "seeds dropout only",
    "implementation": "chooses between equal ways to compute",
    "use_cudnn": "chooses between equal ways to compute",
}


def cell_activation(key: str, identifier: object) -> activations.Activation:
    """An activation that keeps the number of units, or a ``ConfigError``."""
    activation = activations.get(identifier, key)
    if activation.name == "glu":
        raise ConfigError(key, activation.name, "glu halves the units, which no cell can take")
    return activation


class Cell(Layer):
    """One recurrent cell.

    Parameters
    ----------
    units : int
        Size of the output and of every state.
    activation, recurrent_activation : str
        Of the candidate and of the gates.
    use_bias : bool
        Whether the cell has a bias.
    kernel_initializer, recurrent_initializer, bias_initializer
        Where fresh weights start.
    """

    mask_rule: ClassVar = "see RNN"
    keras_versions: ClassVar = "2, 3"
    ignored_config: ClassVar = CELL_IGNORED
    # Columns of the kernels are this many blocks of `units`, in the order that each class names.
    gates: ClassVar[int] = 1
    # Hidden state first.
    state_count: ClassVar[int] = 1
    core_name: ClassVar[str]

    def __init__(
        self,
        units: int,
        activation: object = "tanh",
        use_bias: bool = True,
        kernel_initializer: object = "glorot_uniform",
        recurrent_initializer: object = "orthogonal",
        bias_initializer: object = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = positive_int("units", units)
        self.activation = cell_activation("activation", activation)
        self.recurrent_activation = activations.get("linear")
        self.use_bias = flag("use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel: Variable | None = None
        self.recurrent_kernel: Variable | None = None
        self.bias: Variable | None = None

    @property
    def state_size(self) -> int | list[int]:
        """Keras's ``state_size``: an int, or a list where there are several states."""
        return self.units if self.state_count == 1 else [self.units] * self.state_count

    @property
    def output_size(self) -> int:
        return self.units

    def bias_shape(self) -> tuple[int, ...]:
        return (self.gates * self.units,)

    def initial_bias(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        return np.asarray(self.bias_initializer(shape))

    def build_weights(self, input_shape: Any) -> None:
        features = input_shape[-1]
        if features is None:
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): the last axis of the input must be known, "
                f"got shape {tuple(input_shape)}"
            )
        columns = self.gates * self.units
        self.kernel = Variable.initialized(self.kernel_initializer, (features, columns), "kernel")
        self.recurrent_kernel = Variable.initialized(
            self.recurrent_initializer, (self.units, columns), "recurrent_kernel"
        )
        if self.use_bias:
            self.bias_initializer.check_shape(self.bias_shape())
            self.bias = Variable.initialized(self.initial_bias, self.bias_shape(), "bias")

    @property
    def own_variables(self) -> list[Variable]:
        found = (self.kernel, self.recurrent_kernel, self.bias)
        return [variable for variable in found if variable is not None]

    @property
    def is_fused(self) -> bool:
        """Whether the kernels run this cell; else its steps are written as operations."""
        return self.activation.is_elementwise and self.recurrent_activation.is_elementwise

    def masked_output_is_state(self, plan: Lowering) -> bool:
        """Whether a masked step before the first unmasked one gives the initial hidden state."""
        return plan.semantics_of(self).masked_output == "state"

    def direction(
        self,
        plan: Lowering,
        *,
        read_reversed: bool,
        write_reversed: bool,
        zero_output_for_mask: bool,
        continues: bool = False,
    ) -> _core.Direction:
        """This cell swept over time, for ``plan.ops.recurrent``; ``continues`` an earlier sweep or not."""
        assert self.kernel is not None
        assert self.recurrent_kernel is not None
        return _core.Direction(
            cell=self.core_name,
            kernel=plan.packed(self.kernel),
            recurrent_kernel=plan.packed(self.recurrent_kernel),
            bias=plan.weights(self.bias),
            activation=self.activation.core(),
            recurrent_activation=self.recurrent_activation.core(),
            read_reversed=read_reversed,
            write_reversed=write_reversed,
            zero_output_for_mask=zero_output_for_mask,
            # Before the first unmasked timestep of all, this state is the zeros that the output is.
            masked_output_is_state=continues or self.masked_output_is_state(plan),
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "units": self.units,
            "activation": self.activation.serialize(),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }


class GatedCell(Cell):
    """A cell whose gates have an activation of their own."""

    def __init__(
        self,
        units: int,
        activation: object = "tanh",
        recurrent_activation: object = "sigmoid",
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, **kwargs)
        self.recurrent_activation = cell_activation("recurrent_activation", recurrent_activation)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"recurrent_activation": self.recurrent_activation.serialize()}


@register
class SimpleRNNCell(Cell):
    """h' = activation(x kernel + bias + h recurrent_kernel).

    Source: keras 3.15 ``layers/rnn/simple_rnn.py``. Parameters as in ``Cell``.

    Examples
    --------
    >>> from unrolled import layers
    >>> layers.SimpleRNNCell(4).state_size
    4
    """

    core_name: ClassVar[str] = "simple_rnn"


@register
class LSTMCell(GatedCell):
    """Gate blocks i, f, c, o; c' = f c + i g, h' = o activation(c').

    Source: keras 3.15 ``layers/rnn/lstm.py``. Parameters as in ``Cell``, and:

    Parameters
    ----------
    unit_forget_bias : bool
        Fresh weights only: the forget gate's bias starts at one.

    Examples
    --------
    >>> from unrolled import layers
    >>> layers.LSTMCell(4).state_size
    [4, 4]
    """

    facts: ClassVar = LayerFacts(gates=4, recurrent_activation="gated")
    gates: ClassVar[int] = 4
    state_count: ClassVar[int] = 2
    core_name: ClassVar[str] = "lstm"

    def __init__(
        self,
        units: int,
        activation: object = "tanh",
        recurrent_activation: object = "sigmoid",
        unit_forget_bias: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, **kwargs)
        self.unit_forget_bias = flag("unit_forget_bias", unit_forget_bias)

    def initial_bias(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        bias = np.array(super().initial_bias(shape))
        if self.unit_forget_bias:
            bias[self.units : 2 * self.units] = 1.0
        return bias

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"unit_forget_bias": self.unit_forget_bias}


@register
class GRUCell(GatedCell):
    """Gate blocks z, r, h; h' = z h + (1 - z) candidate.

    Source: keras 3.15 ``layers/rnn/gru.py``. Parameters as in ``Cell``, and:

    Parameters
    ----------
    reset_after : bool
        The reset gate multiplies the recurrent product (true, with a second bias row), or the hidden
        state before it (false; all there was before Keras 2.1.5).

    Examples
    --------
    >>> from unrolled import layers
    >>> layers.GRUCell(4, reset_after=False).reset_after
    False
    """

    facts: ClassVar = LayerFacts(gates=3, recurrent_activation="gated", has_reset_after=True)
    gates: ClassVar[int] = 3

    def __init__(
        self,
        units: int,
        activation: object = "tanh",
        recurrent_activation: object = "sigmoid",
        reset_after: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, activation, recurrent_activation, **kwargs)
        self.reset_after = flag("reset_after", reset_after)

    @property
    def core_name(self) -> str:  # type: ignore[override]
        return "gru_reset_after" if self.reset_after else "gru_reset_before"

    def bias_shape(self) -> tuple[int, ...]:
        columns = self.gates * self.units
        return (2, columns) if self.reset_after else (columns,)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"reset_after": self.reset_after}


@register
class StackedRNNCells(Layer):
    """Several cells in sequence within each timestep; the output is the last one's.

    Source: keras 3.15 ``layers/rnn/stacked_rnn_cells.py``.

    Parameters
    ----------
    cells : sequence of Cell or StackedRNNCells
        From the input to the output.

    Examples
    --------
    >>> from unrolled import layers
    >>> layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(2)]).state_size
    [3, [2, 2]]
    """

    mask_rule: ClassVar = "see RNN"
    keras_versions: ClassVar = "2, 3"
    facts: ClassVar = LayerFacts(inner_layers=("cells",))

    def __init__(self, cells: Sequence[Cell | StackedRNNCells], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        cell_list("cells", cells)
        self.cells: list[Any] = list(cells) if isinstance(cells, list | tuple) else [cells]

    @property
    def state_size(self) -> list[Any]:
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        return int(self.cells[-1].output_size)

    @property
    def tracked(self) -> dict[str, Any]:
        return {"cells": list(self.cells)}

    def build_weights(self, input_shape: Any) -> None:
        for cell in self.cells:
            cell.build(input_shape)
            input_shape = (*input_shape[:-1], cell.output_size)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"cells": [serialize_layer(cell) for cell in self.cells]}


def cell_list(key: str, cells: Any) -> list[Cell]:
    """``cells`` as a flat list, or a ``ConfigError``."""
    from unrolled.errors import ConfigError

    flat: list[Cell] = []
    for cell in cells if isinstance(cells, list | tuple) else [cells]:
        if isinstance(cell, StackedRNNCells):
            flat += cell_list(key, cell.cells)
        elif isinstance(cell, Cell):
            flat.append(cell)
        else:
            raise ConfigError(key, cell, "expected SimpleRNNCell, LSTMCell or GRUCell")
    if not flat:
        raise ConfigError(key, cells, "expected at least one cell")
    return flat
