# SPDX-License-Identifier: MIT
"""Keras's layers, for inference. One file a family; see ``registry`` for what files may name."""

from __future__ import annotations

from unrolled.layers.base import KerasTensor, Layer
from unrolled.layers.cells import GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells
from unrolled.layers.recurrent import GRU, LSTM, RNN, SimpleRNN
from unrolled.layers.wrappers import Bidirectional, TimeDistributed

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Bidirectional",
    "GRUCell",
    "KerasTensor",
    "LSTMCell",
    "Layer",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
    "TimeDistributed",
]
