# SPDX-License-Identifier: MIT
"""Keras's layers, for inference. One file a family; see ``registry`` for what files may name."""

from __future__ import annotations

from unrolled.layers.activation_layers import ELU, LeakyReLU, PReLU, ReLU, Softmax, ThresholdedReLU
from unrolled.layers.base import KerasTensor, Layer
from unrolled.layers.cells import GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells
from unrolled.layers.core import Activation, Dense, Embedding, Identity, Input, InputLayer, Masking
from unrolled.layers.recurrent import GRU, LSTM, RNN, SimpleRNN
from unrolled.layers.wrappers import Bidirectional, TimeDistributed

__all__ = [
    "ELU",
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Bidirectional",
    "Dense",
    "Embedding",
    "GRUCell",
    "Identity",
    "Input",
    "InputLayer",
    "KerasTensor",
    "LSTMCell",
    "Layer",
    "LeakyReLU",
    "Masking",
    "PReLU",
    "ReLU",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "StackedRNNCells",
    "ThresholdedReLU",
    "TimeDistributed",
]
