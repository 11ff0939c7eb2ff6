# SPDX-License-Identifier: MIT
"""What is set on a layer after a plan exists takes effect everywhere, or raises; nothing is ignored."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled import layers
from unrolled.errors import ConfigError
from unrolled.layers.registry import layer_classes

sys.path.insert(0, str(Path(__file__).parent / "layers"))
from cases import CASES, make_layer, ready

X = np.random.default_rng(0).standard_normal((3, 7, 4)).astype(np.float32)


def predicted(layer, weights=None):
    """By a layer alone, in a Sequential, in a functional and in a nested model, each with plans already."""
    entry = unrolled.Input(X.shape[1:])
    inner = unrolled.Sequential([layer]) if layer.built else unrolled.Sequential([entry, layer])
    if not inner.built:
        inner.build((None, *X.shape[1:]))
    outer_entry = unrolled.Input(X.shape[1:])
    models = [layer, inner, unrolled.Model(outer_entry, inner(outer_entry))]
    if weights is not None:
        layer.set_weights(weights)
    return models


def run(models):
    return [np.asarray(model(X)).tobytes() for model in models]


CHANGES = [
    (lambda **o: layers.Dense(4, **o), "activation", "relu"),
    (lambda **o: layers.Dense(4, **o), "activation", unrolled.activations.sigmoid),
    (lambda **o: layers.LSTM(5, **o), "activation", "relu"),
    (lambda **o: layers.LSTM(5, **o), "recurrent_activation", "hard_sigmoid"),
    (lambda **o: layers.GRU(5, **o), "go_backwards", True),
    (lambda **o: layers.SimpleRNN(5, return_sequences=True, **o), "go_backwards", True),
    (lambda **o: layers.Conv1D(5, 3, padding="same", **o), "activation", "tanh"),
    (lambda **o: layers.Bidirectional(layers.LSTM(3), **({"merge_mode": "sum"} | o)), "merge_mode", "mul"),
    (lambda **o: layers.LayerNormalization(**o), "epsilon", 0.5),
    (lambda **o: layers.LeakyReLU(**o), "negative_slope", 0.7),
    (lambda **o: layers.Rescaling(**({"scale": 2.0} | o)), "scale", 3.0),
]


@pytest.mark.parametrize(("make", "key", "value"), CHANGES)
def test_an_option_that_is_set_takes_effect_in_every_plan_that_holds_the_layer(make, key, value):
    layer = make()
    models = predicted(layer)
    before = run(models)
    expected = run(predicted(make_with_weights(make, layer, {key: value})))
    setattr(layer, key, value)
    assert run(models) == expected
    assert expected != before


def make_with_weights(make, layer, options):
    other = make(**options)
    other.build((None, *X.shape[1:]))
    other.set_weights(layer.get_weights())
    return other


def test_an_array_that_is_set_as_a_weight_is_assigned():
    layer = layers.Dense(4, use_bias=False)
    models = predicted(layer)
    before = run(models)
    layer.kernel = 2 * layer.kernel.numpy()
    assert isinstance(layer.kernel, unrolled.engine.variables.Variable)
    assert run(models) != before
    assert (
        np.asarray(models[1](X)).tobytes() == np.asarray(2 * np.frombuffer(before[1], np.float32)).tobytes()
    )
    with pytest.raises(ValueError, match="expected shape"):
        layer.kernel = np.ones((2, 2))
    with pytest.raises(AttributeError, match="no weight"):
        layer.bias = np.ones(4)


def test_cells_and_wrapped_layers_change_what_holds_them():
    layer = layers.Bidirectional(layers.GRU(3, return_sequences=True))
    models = predicted(layer)
    before = run(models)
    layer.forward_layer.cell.kernel = 0 * layer.forward_layer.cell.kernel.numpy()
    changed = run(models)
    assert changed != before
    layer.backward_layer.activation = "relu"
    assert run(models) != changed


@pytest.mark.parametrize(
    ("layer", "key", "value"),
    [
        (layers.Dense(4), "units", 5),
        (layers.Dense(4), "use_bias", False),
        (layers.LSTM(4), "return_sequences", True),
        (layers.LSTM(4), "return_state", True),
        (layers.Conv1D(4, 2), "padding", "same"),
        (layers.Dense(4), "activation", "no_such"),
        (layers.Dense(4), "activation", 3),
        (layers.GRU(4), "reset_after", False),
        (layers.LSTM(4), "go_backwards", "yes"),
    ],
)
def test_an_option_that_weights_or_shapes_depend_on_is_refused(layer, key, value):
    models = predicted(layer)
    before = run(models)
    with pytest.raises(ConfigError, match=key):
        setattr(layer, key, value)
    assert run(models) == before


@pytest.mark.parametrize(
    ("layer", "key", "value"),
    [
        (layers.Bidirectional(layers.LSTM(2)), "go_backwards", True),
        (layers.Bidirectional(layers.LSTM(2)), "return_sequences", True),
        (layers.TimeDistributed(layers.Dense(2)), "activation", "relu"),
        (layers.TimeDistributed(layers.Dense(2)), "layer", layers.Dense(3)),
        (layers.LSTM(2), "cell", layers.LSTMCell(3)),
        (layers.LSTM(2), "kernel", np.ones((4, 8))),
        (layers.Dense(2), "activations", "relu"),
    ],
)
def test_an_attribute_that_nothing_reads_or_that_holds_layers_cannot_be_set(layer, key, value):
    run(predicted(layer))
    with pytest.raises(AttributeError):
        setattr(layer, key, value)


OTHER = [
    None,
    True,
    False,
    0,
    1,
    2,
    3,
    -1,
    0.25,
    1.5,
    "relu",
    "same",
    "valid",
    "sum",
    "channels_first",
    [1],
    [2, 1],
]


def first_cases():
    found = {}
    for number, case in enumerate(CASES):
        found.setdefault(case["class_name"], number)
    return {name: number for name, number in found.items() if name in layer_classes()}


@pytest.mark.parametrize("name", sorted(first_cases()))
def test_any_option_of_any_layer_takes_effect_or_raises(name):
    """A layer whose option was set computes what a layer made with the option computes."""
    number = first_cases()[name]
    layer = make_layer(layers, CASES[number])
    args, call = ready(layer, number)
    layer(*args, **call)
    keys = [key for key in type(layer).config_keys() if key not in ("name", "trainable", "dtype")]
    for key in keys:
        for value in OTHER:
            config = layer.get_config()
            try:
                setattr(layer, key, value)
            except (AttributeError, ValueError, TypeError):
                assert repr(layer.get_config()) == repr(config), (key, value)
                continue
            made = type(layer).from_config(config | {key: value})
            made.build(layer.built_shape)
            made.set_weights(layer.get_weights())
            expected, got = outcome(made, args, call), outcome(layer, args, call)
            assert got == expected, (key, value)


def outcome(layer, args, call):
    if getattr(layer, "stateful", False):
        layer.reset_state()
    try:
        with np.errstate(all="ignore"):
            y = layer(*args, **call)
    except ValueError as error:
        return str(error).replace(layer.name, "")
    return [part.tobytes() for part in (y if isinstance(y, list) else [y])]


def test_a_layer_added_to_a_nested_model_takes_effect_in_the_model_around_it():
    inner = unrolled.Sequential([layers.Dense(4, input_shape=(4,))])
    entry = unrolled.Input((4,))
    outer = unrolled.Model(entry, inner(entry))
    x = np.ones((1, 4), np.float32)
    before = outer.predict(x)
    inner.add(layers.Rescaling(2.0))
    np.testing.assert_array_equal(outer.predict(x), 2 * before)
    inner.pop()
    np.testing.assert_array_equal(outer.predict(x), before)
