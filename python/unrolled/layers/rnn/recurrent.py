# SPDX-License-Identifier: MIT
"""SimpleRNN, LSTM, GRU and RNN(cell): cells swept over time, with every option that changes inference."""

from __future__ import annotations

from typing import Any, ClassVar

from unrolled.layers.base import Layer
from unrolled.layers.registry import register, serialize_layer
from unrolled.layers.rnn.cells import (
    CELL_IGNORED,
    Cell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedRNNCells,
    cell_list,
)
from unrolled.layers.rnn.sweeping import Recurrent
from unrolled.spec import LayerFacts


class SingleCell(Recurrent):
    """A recurrent layer that makes its own cell from its config."""

    cell_class: ClassVar[type[Cell]]
    ignored_config: ClassVar = CELL_IGNORED

    def __init__(self, **kwargs: Any) -> None:
        cell_keys = {key for key in self.cell_class.config_keys() if key not in Layer.config_keys()}
        own = {key: kwargs.pop(key) for key in list(kwargs) if key in cell_keys}
        super().__init__(**kwargs)
        self.cell = self.cell_class(**own, trainable=self.trainable, dtype=self.dtype, name=self.cell_name())

    @classmethod
    def cell_name(cls) -> str:
        """Keras's name of the cell, which weight names of `.h5` files carry."""
        from unrolled.layers.naming import snake_case

        return snake_case(cls.cell_class.__name__)

    @classmethod
    def config_keys(cls) -> list[str]:
        return list(dict.fromkeys([*super().config_keys(), *cls.cell_class.config_keys()]))

    @property
    def cells(self) -> list[Cell]:
        return [self.cell]

    @property
    def tracked(self) -> dict[str, Any]:
        return {"cell": self.cell}

    @property
    def units(self) -> int:
        return self.cell.units

    def get_config(self) -> dict[str, Any]:
        cell = {key: value for key, value in self.cell.get_config().items() if key not in ("name",)}
        return cell | super().get_config()


@register
class SimpleRNN(SingleCell):
    """Fully connected recurrence: h' = activation(x kernel + bias + h recurrent_kernel).

    Source: keras 3.15 ``layers/rnn/simple_rnn.py``. The mask passes through with ``return_sequences``.

    Parameters
    ----------
    units : int
        Size of the output and of the hidden state.
    activation : str
        Of the output, "tanh" by default.
    use_bias : bool
        Whether there is a bias.
    **kwargs
        Options of ``Recurrent``, initialisers of ``Cell``, ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layer = layers.SimpleRNN(3, return_sequences=True)
    >>> layer(np.zeros((4, 2, 10), np.float32)).shape
    (4, 2, 3)
    >>> layer.count_params()
    42
    """

    cell_class: ClassVar = SimpleRNNCell

    def __init__(self, units: int, activation: object = "tanh", use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(units=units, activation=activation, use_bias=use_bias, **kwargs)


@register
class LSTM(SingleCell):
    """Long short-term memory, gate blocks i, f, c, o.

    Source: keras 3.15 ``layers/rnn/lstm.py``. The mask passes through with ``return_sequences``.

    Parameters
    ----------
    units : int
        Size of the output, the hidden state and the cell state.
    activation, recurrent_activation : str
        Of candidate and output, "tanh"; of the gates, "sigmoid".
    use_bias : bool
        Whether there is a bias.
    **kwargs
        Options of ``Recurrent``, initialisers of ``Cell``, ``unit_forget_bias``, ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> x = np.zeros((4, 7, 5), np.float32)
    >>> output, hidden_state, cell_state = layers.LSTM(6, return_state=True)(x)
    >>> output.shape, cell_state.shape
    ((4, 6), (4, 6))
    """

    facts: ClassVar = LayerFacts(takes_states=True, recurrent_activation="gated")
    cell_class: ClassVar = LSTMCell

    def __init__(
        self, units: int, activation: object = "tanh", recurrent_activation: object = "sigmoid", use_bias: bool = True,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            units=units, activation=activation, recurrent_activation=recurrent_activation, use_bias=use_bias,
            **kwargs,
        )  # fmt: skip


@register
class GRU(SingleCell):
    """Gated recurrent unit, gate blocks z, r, h.

    Source: keras 3.15 ``layers/rnn/gru.py``. The mask passes through with ``return_sequences``.

    Parameters
    ----------
    units : int
        Size of the output and of the hidden state.
    activation, recurrent_activation : str
        Of the candidate, "tanh"; of the gates, "sigmoid".
    use_bias : bool
        Whether there is a bias.
    **kwargs
        ``reset_after`` (see ``GRUCell``), options of ``Recurrent``, initialisers of ``Cell``,
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.GRU(6)(np.zeros((4, 7, 5), np.float32)).shape
    (4, 6)
    """

    facts: ClassVar = LayerFacts(takes_states=True, recurrent_activation="gated", has_reset_after=True)
    cell_class: ClassVar = GRUCell

    def __init__(
        self, units: int, activation: object = "tanh", recurrent_activation: object = "sigmoid", use_bias: bool = True,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            units=units, activation=activation, recurrent_activation=recurrent_activation, use_bias=use_bias,
            **kwargs,
        )  # fmt: skip


@register
class RNN(Recurrent):
    """A cell, or a stack of cells, swept over time.

    Source: keras 3.15 ``layers/rnn/rnn.py``. The mask passes through with ``return_sequences``.

    Parameters
    ----------
    cell : Cell, StackedRNNCells or list of Cell
        What runs at each timestep.
    **kwargs
        Options of ``Recurrent``, ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layer = layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)])
    >>> layer(np.zeros((2, 7, 5), np.float32)).shape
    (2, 3)
    """

    facts: ClassVar = LayerFacts(takes_states=True, inner_layers=("cell",))
    keras_versions: ClassVar = "2, 3"

    def __init__(self, cell: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cell = StackedRNNCells(cell) if isinstance(cell, list | tuple) else cell
        self._cells = cell_list("cell", cell)

    @property
    def cells(self) -> list[Cell]:
        return self._cells

    @property
    def tracked(self) -> dict[str, Any]:
        return {"cell": self.cell}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"cell": serialize_layer(self.cell)}
