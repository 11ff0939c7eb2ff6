# SPDX-License-Identifier: MIT
"""The texts that Keras 3 prints as summaries, for models that unrolled builds with the same code."""

from __future__ import annotations

import os
from unittest import mock


def sequential_42(keras):
    return keras.Sequential([keras.Input((2, 10)), keras.layers.SimpleRNN(3, name="rnn")], name="tutorial")


def deep_lstm(keras):
    layers = keras.layers
    stack = [
        layers.LSTM(units, return_sequences=True, name=f"LSTM_{i}")
        for i, units in enumerate((1024, 512, 256, 128))
    ]
    head = [
        layers.Flatten(name="flatten"),
        layers.Dense(64, activation="swish", name="hidden"),
        layers.Dense(1, activation="sigmoid", name="output"),
    ]
    return keras.Sequential([layers.Input(shape=(60, 13)), *stack, *head], name="deep_lstm")


def all_sorts(keras):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(1000, 16, mask_zero=True, name="embedding"),
            layers.SpatialDropout1D(0.1, name="dropout"),
            layers.Bidirectional(layers.LSTM(8, return_sequences=True, name="inner"), name="bidirectional"),
            layers.BatchNormalization(name="a_very_long_name_that_does_not_fit_into_its_column_at_all"),
            layers.TimeDistributed(layers.Dense(4), name="time_distributed"),
            layers.GRU(5, name="gru"),
        ],
        name="all_sorts",
    )


def frozen(keras):
    model = keras.Sequential(
        [
            keras.Input((7, 2)),
            keras.layers.GRU(4, name="gru", trainable=False),
            keras.layers.Dense(2, name="dense"),
        ],
        name="frozen",
    )
    return model


def unbuilt(keras):
    return keras.Sequential(
        [keras.layers.LSTM(4, name="lstm"), keras.layers.Dense(2, name="dense")], name="unbuilt"
    )


def fixed_batch(keras):
    return keras.Sequential(
        [keras.Input((3, 2), batch_size=4), keras.layers.LSTM(6, stateful=True, name="lstm")],
        name="fixed_batch",
    )


def functional_chain(keras):
    entry = keras.Input((5, 3), name="entry")
    x = keras.layers.Conv1D(4, 3, padding="same", name="conv")(entry)
    x = keras.layers.LSTM(6, return_state=False, name="lstm")(x)
    return keras.Model(entry, keras.layers.Dense(1, name="dense")(x), name="functional_chain")


MODELS = {
    function.__name__: function
    for function in (sequential_42, deep_lstm, all_sorts, frozen, unbuilt, fixed_batch, functional_chain)
}
# (columns of the terminal, line_length): Keras cuts what is wider than the terminal.
WIDTHS = ((80, None), (80, 60), (200, None), (200, 100))
FILE = "summaries_keras3.txt"
SEPARATOR = "=== "


def text_of(model, columns, line_length):
    """What ``model.summary`` prints on a terminal of so many columns, without the newline at the end."""
    lines = []
    with mock.patch.dict(os.environ, {"COLUMNS": str(columns)}):
        model.summary(line_length=line_length, print_fn=lambda text, *_, **__: lines.append(text))
    return "\n".join(lines).rstrip("\n")


def write(keras, folder):
    parts = []
    for name, make in MODELS.items():
        for columns, length in WIDTHS:
            keras.backend.clear_session()
            parts.append(f"{SEPARATOR}{name} {columns} {length}\n{text_of(make(keras), columns, length)}\n")
    (folder / FILE).write_text("".join(parts), encoding="utf-8")


def read(folder):
    """``(model name, columns, line length)`` to text, without the newline at the end."""
    texts = {}
    for part in (folder / FILE).read_text(encoding="utf-8").split(SEPARATOR)[1:]:
        head, text = part.split("\n", 1)
        name, columns, length = head.split()
        texts[name, int(columns), None if length == "None" else int(length)] = text.rstrip("\n")
    return texts


def differences(old, new):
    a, b = read(old), read(new)
    return [f"{FILE}: {key}" for key in sorted({*a, *b}, key=str) if a.get(key) != b.get(key)]
