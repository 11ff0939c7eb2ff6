# SPDX-License-Identifier: MIT
"""Causal models of every kind that a live stream must run, with fresh weights, and sequences for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import unrolled
from unrolled import Input, Model, Sequential, layers
from unrolled.layers import ops

FEATURES = 5


def chain(*stack, features=FEATURES):
    return Sequential([Input((None, features)), *stack])


def masked(*stack):
    return chain(layers.Masking(), *stack)


def branches():
    x = Input((None, FEATURES))
    slow = layers.LSTM(4, return_sequences=True)(x)
    fast = layers.Conv1D(4, 3, padding="causal", activation="tanh")(x)
    both = layers.Add()([slow, fast])
    joined = layers.Concatenate()([both, x])
    gate = layers.Dense(4, activation="sigmoid")(joined)
    return Model(x, layers.GRU(3)(layers.Multiply()([gate, both])))


def several_inputs_and_outputs():
    a, b = Input((None, 3), name="a"), Input((None, 2), name="b")
    h, state_h, state_c = layers.LSTM(4, return_sequences=True, return_state=True)(a)
    g = layers.GRU(4)(layers.Concatenate()([h, b]))
    return Model([a, b], [layers.Dense(2)(h), g, state_h, state_c])


def shared_layer():
    x = Input((None, FEATURES))
    layer = layers.GRU(FEATURES, return_sequences=True)
    return Model(x, layer(layer(x)))


def nested():
    inner = Sequential([Input((None, FEATURES)), layers.LSTM(4, return_sequences=True), layers.Dense(3)])
    x = Input((None, FEATURES))
    return Model(x, layers.LSTM(2)(layers.Concatenate()([inner(x), inner(x)])))


def graph_operations():
    """As ``x * 2`` and ``keras.ops`` leave them: a mask made of them, elements of features picked."""
    x = Input((None, FEATURES))
    scaled = ops.AddOperation()(ops.MultiplyOperation()(x, 2.0), np.arange(FEATURES, dtype=np.float32))
    largest = ops.MaxOperation(axis=-1, keepdims=True)(ops.AbsOperation()(x))
    picked = ops.GetItemOperation()(scaled, (slice(None), slice(None), slice(0, 3)))
    joined = ops.ConcatenateOperation(axis=-1)([picked, largest, ops.SoftmaxOperation()(x)])
    stacked = ops.StackOperation(axis=-1)([joined, ops.FlipOperation(axis=2)(joined)])
    turned = ops.SwapaxesOperation(2, 3)(ops.TransposeOperation(axes=[0, 1, 3, 2])(stacked))
    mean = ops.SqueezeOperation(axis=2)(ops.ExpandDimsOperation(axis=2)(ops.MeanOperation(axis=3)(turned)))
    mask = ops.AnyOperation(axis=-1)(ops.NotEqualOperation()(x, 0.0))
    kept = ops.WhereOperation()(ops.GreaterOperation()(mean, 0.0), mean, ops.NegativeOperation()(mean))
    return Model(x, layers.LSTM(3)(ops.RepeatOperation(2, axis=-1)(kept), mask=mask))


def ids_to_numbers():
    x = Input((None, 2), dtype="int32")
    y = layers.CategoryEncoding(11, output_mode="count")(layers.IntegerLookup(vocabulary=[3, 5, 8])(x))
    return Model(x, layers.GRU(3)(y))


def decoder_after_the_end():
    return chain(
        layers.GRU(4),
        layers.RepeatVector(3),
        layers.Bidirectional(layers.LSTM(2, return_sequences=True)),
        layers.Flatten(),
        layers.Dense(2),
    )


MODELS: dict[str, Callable[[], Model]] = {
    "simple_rnn": lambda: chain(layers.SimpleRNN(4, return_sequences=True), layers.SimpleRNN(3)),
    "lstm": lambda: chain(layers.LSTM(4, return_sequences=True), layers.LSTM(3), layers.Dense(2)),
    "gru": lambda: chain(layers.GRU(4, return_sequences=True), layers.GRU(3, return_sequences=True)),
    "gru_reset_before": lambda: chain(layers.GRU(4, reset_after=False, return_sequences=True)),
    "other_activations": lambda: chain(
        layers.LSTM(
            4,
            activation="softsign",
            recurrent_activation="hard_sigmoid",
            use_bias=False,
            return_sequences=True,
        )
    ),
    "wide": lambda: chain(layers.LSTM(65, return_sequences=True), layers.GRU(33, return_sequences=True)),
    "stacked_cells": lambda: chain(
        layers.RNN([layers.GRUCell(4), layers.LSTMCell(3), layers.SimpleRNNCell(2)], return_sequences=True)
    ),
    "softmax_in_the_cell": lambda: chain(layers.GRU(4, activation="softmax", return_sequences=True)),
    "stateful": lambda: chain(layers.LSTM(4, return_sequences=True, stateful=True)),
    "conv_lstm": lambda: Sequential(
        [
            Input((None, 6, 2)),
            layers.ConvLSTM1D(3, 3, padding="same", return_sequences=True),
            layers.TimeDistributed(layers.Flatten()),
            layers.LSTM(3),
        ]
    ),
    "masked_lstm": lambda: masked(layers.LSTM(4, return_sequences=True), layers.LSTM(3)),
    "masked_gru_sequences": lambda: masked(layers.GRU(4, return_sequences=True), layers.Dense(2)),
    "masked_zero_output": lambda: masked(
        layers.LSTM(4, return_sequences=True, zero_output_for_mask=True),
        layers.SimpleRNN(3, zero_output_for_mask=True),
    ),
    "masked_stacked_cells": lambda: masked(
        layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], return_sequences=True)
    ),
    "embedding": lambda: Sequential(
        [Input((None,)), layers.Embedding(11, 4), layers.GRU(3, return_sequences=True)]
    ),
    "masked_embedding": lambda: Sequential(
        [Input((None,)), layers.Embedding(11, 4, mask_zero=True), layers.LSTM(4, return_sequences=True)]
    ),
    "causal_convolutions": lambda: chain(
        layers.Conv1D(6, 3, padding="causal", activation="relu"),
        layers.Conv1D(4, 2, padding="causal", dilation_rate=4),
        layers.SeparableConv1D(4, 3, padding="causal"),
        layers.Conv1D(4, 3, padding="causal", groups=2),
        layers.Conv1D(3, 1, padding="same", activation="softmax"),
    ),
    "convolution_and_lstm": lambda: chain(
        layers.Conv1D(6, 5, padding="causal"), layers.LSTM(4), layers.Dense(1)
    ),
    "by_timestep": lambda: chain(
        layers.Rescaling(2.0, 0.5),
        layers.Dense(6, activation="relu"),
        layers.LayerNormalization(),
        layers.BatchNormalization(),
        layers.Dropout(0.5),
        layers.SpatialDropout1D(0.5),
        layers.GaussianNoise(0.5),
        layers.LeakyReLU(),
        layers.PReLU(shared_axes=[1]),
        layers.Reshape((-1, 3, 2)),
        layers.Permute((1, 3, 2)),
        layers.TimeDistributed(layers.Flatten()),
        layers.TimeDistributed(layers.Dense(4)),
        layers.UnitNormalization(),
        layers.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"),
        layers.Softmax(),
        layers.Activation("tanh"),
    ),
    "global_max": lambda: chain(layers.GRU(4, return_sequences=True), layers.GlobalMaxPooling1D()),
    "global_average": lambda: chain(layers.GlobalAveragePooling1D(keepdims=True), layers.Flatten()),
    "masked_global_average": lambda: masked(
        layers.LSTM(4, return_sequences=True), layers.GlobalAveragePooling1D()
    ),
    "branches": branches,
    "shared_layer": shared_layer,
    "nested": nested,
    "graph_operations": graph_operations,
    "ids_to_numbers": ids_to_numbers,
    "decoder_after_the_end": decoder_after_the_end,
}


def make(name: str) -> Model:
    """The model of this name, every weight drawn anew: biases and statistics too."""
    unrolled.layers.naming.reset_names()
    model = MODELS[name]()
    rng = np.random.default_rng(list(name.encode()))
    for layer in model.walk():
        for variable in layer.own_variables:
            values = rng.standard_normal(variable.shape) * 0.4
            variable.assign(np.abs(values) if "variance" in variable.name else values)
    return model


def sequences(model: Model, batch: int, timesteps: int, seed: int = 0) -> np.ndarray:
    """Sequences for a model of one input; some timesteps are zeros, which masks leave out."""
    rng = np.random.default_rng([seed, batch, timesteps])
    (tensor,) = model.inputs
    if tensor.ndim == 2 or tensor.dtype == "int32":
        return rng.integers(0, 11, (batch, timesteps, *tensor.shape[2:])).astype(np.int32)
    x = rng.standard_normal((batch, timesteps, *tensor.shape[2:])).astype(np.float32)
    x[rng.random((batch, timesteps)) < 0.3] = 0
    return x


def returns_sequences(model: Model) -> bool:
    return len(model.output_shape) > 1 and model.stream()._compiled.sequence_outputs[0]


def expected(model: Model, x: np.ndarray) -> list[np.ndarray]:
    """The output after each timestep, by ``predict`` on everything up to it."""

    def predict(part):
        model.reset_state()
        return model.predict(part, verbose=0)

    if returns_sequences(model):
        whole = predict(x)
        return [whole[:, t] for t in range(x.shape[1])]
    return [predict(x[:, : t + 1]) for t in range(x.shape[1])]
