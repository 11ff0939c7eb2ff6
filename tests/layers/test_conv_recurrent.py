# SPDX-License-Identifier: MIT
"""ConvLSTM layers against a float64 loop in NumPy, and against live Keras of both lines where installed."""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import unrolled
from unrolled import layers

OPTIONS: list[dict[str, Any]] = [
    {},
    {"padding": "same", "strides": 2},
    {"dilation_rate": 2, "use_bias": False},
    {"return_sequences": True, "go_backwards": True},
    {"return_sequences": True, "return_state": True, "activation": "relu"},
    {"return_sequences": True, "zero_output_for_mask": True, "recurrent_activation": "hard_sigmoid"},
    {"return_sequences": True, "go_backwards": True, "zero_output_for_mask": True, "unroll": True},
    {"data_format": "channels_first", "return_sequences": True, "return_state": True},
]
SPATIAL = [6, 5, 4]


def input_shape(rank: int, options: dict[str, Any]) -> tuple[int, ...]:
    sizes = SPATIAL[:rank]
    return (4, 2, *sizes) if options.get("data_format") == "channels_first" else (4, *sizes, 2)


def convolve(x: Any, kernel: Any, strides: Any, padding: str, dilation: Any) -> Any:
    """x (batch, spatial..., channels) in float64."""
    rank = kernel.ndim - 2
    if padding == "same":
        pads = []
        for size, window, stride, step in zip(x.shape[1:-1], kernel.shape, strides, dilation, strict=False):
            total = max((-(-size // stride) - 1) * stride + (window - 1) * step + 1 - size, 0)
            pads.append((total // 2, total - total // 2))
        x = np.pad(x, [(0, 0), *pads, (0, 0)])
    extents = [(window - 1) * step + 1 for window, step in zip(kernel.shape, dilation, strict=False)]
    windows = sliding_window_view(x, extents, axis=tuple(range(1, rank + 1)))
    windows = windows[(slice(None), *(slice(None, None, stride) for stride in strides))]
    windows = windows[(..., *(slice(None, None, step) for step in dilation))]
    letters = "uvw"[:rank]
    return np.einsum(f"...i{letters},{letters}io->...o", windows, kernel)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


FUNCTIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
}


def reference(layer: Any, x: Any, mask: Any = None, states: Any = None) -> list[Any]:
    """Keras's loop (docs: recurrent layers) over ``layer``'s weights."""
    cell = layer.cell
    rank = cell.rank
    first = cell.data_format == "channels_first"
    x = np.asarray(x, np.float64)
    if first:
        x = np.moveaxis(x, 2, -1)
    weights = [np.asarray(w, np.float64) for w in layer.get_weights()]
    bias = weights[2] if cell.use_bias else 0.0
    activation, gate = FUNCTIONS[cell.activation.name], FUNCTIONS[cell.recurrent_activation.name]
    ones = [1] * rank
    h = c = previous = None
    outputs = []
    times = range(x.shape[1])
    for t in reversed(times) if layer.go_backwards else times:
        z = convolve(x[:, t], weights[0], cell.strides, cell.padding, cell.dilation_rate) + bias
        if h is None:
            shape = (*z.shape[:-1], cell.filters)
            h, c = (np.zeros(shape), np.zeros(shape)) if states is None else states
            previous = np.zeros(shape)
        z = z + convolve(h, weights[1], ones, "same", ones)
        i, f, g, o = np.split(z, 4, axis=-1)
        new_c = gate(f) * c + gate(i) * activation(g)
        new_h = gate(o) * activation(new_c)
        keep = np.ones(x.shape[0], bool) if mask is None else mask[:, t]
        keep = keep.reshape(-1, *[1] * (rank + 1))
        output = np.where(keep, new_h, 0.0 if layer.zero_output_for_mask else previous)
        h, c, previous = np.where(keep, new_h, h), np.where(keep, new_c, c), output
        outputs.append(output)
    if layer.unroll and layer.go_backwards and layer.zero_output_for_mask and mask is not None:
        # The quirk of Keras's unrolled loop: the mask in the input's order on outputs that are not.
        plain = type(layer).from_config(layer.get_config() | {"zero_output_for_mask": False, "name": None})
        plain.build((None, *(np.moveaxis(x, -1, 2) if first else x).shape[1:]))
        plain.set_weights(layer.get_weights())
        outputs = list(np.moveaxis(reference(plain, x, mask)[0], 1, 0))
        keeps = mask.reshape(*mask.shape, *[1] * (rank + 1))
        outputs = [np.where(keeps[:, t], output, 0.0) for t, output in enumerate(outputs)]
    output = np.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]
    if first:
        output = np.moveaxis(output, -1, 2 if layer.return_sequences else 1)
        h, c = np.moveaxis(h, -1, 1), np.moveaxis(c, -1, 1)
    return [output, h, c] if layer.return_state else [output]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_conv_lstm_follows_the_equations(rank: int, options: dict[str, Any], masked: bool) -> None:
    random = np.random.default_rng(rank)
    layer = getattr(layers, f"ConvLSTM{rank}D")(3, 2, **options)
    x = random.normal(size=(3, *input_shape(rank, options))).astype(np.float32)
    layer.build(x.shape)
    layer.set_weights([random.normal(size=w.shape) * 0.4 for w in layer.get_weights()])
    mask = random.random((3, 4)) < 0.6 if masked else None
    if mask is not None:
        mask[0] = False
    result = layer(x, mask=mask)
    expected = reference(layer, x, mask)
    for got, want in zip(result if isinstance(result, list) else [result], expected, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-6, rtol=2e-5)
        assert got.dtype == np.float32


def test_conv_lstm_starts_from_given_states() -> None:
    random = np.random.default_rng(0)
    layer = layers.ConvLSTM2D(3, 3, return_sequences=True, return_state=True)
    x = random.normal(size=(2, 4, 6, 5, 2)).astype(np.float32)
    states = [random.normal(size=(2, 4, 3, 3)).astype(np.float32) for _ in range(2)]
    result = layer(x, initial_state=states)
    for got, want in zip(result, reference(layer, x, states=states), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-6)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_stateful_conv_lstm_goes_on_where_the_last_call_ended(data_format: str) -> None:
    random = np.random.default_rng(0)
    config = {"filters": 3, "kernel_size": 2, "return_sequences": True, "data_format": data_format}
    shape = (2, 6, 4, 5, 2) if data_format == "channels_last" else (2, 6, 2, 4, 5)
    x = random.normal(size=shape).astype(np.float32)
    whole = layers.ConvLSTM2D(**config)
    expected = whole(x)
    stateful = layers.ConvLSTM2D(**config, stateful=True)
    stateful.build((2, None, *shape[2:]))
    stateful.set_weights(whole.get_weights())
    got = np.concatenate([stateful(x[:, :2]), stateful(x[:, 2:])], axis=1)
    np.testing.assert_array_equal(got, expected)
    stateful.reset_state()
    np.testing.assert_array_equal(stateful(x[:, :2]), expected[:, :2])


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_conv_lstm_streams_with_the_bytes_of_predict(data_format: str) -> None:
    shape = (4, 6, 5, 2) if data_format == "channels_last" else (4, 2, 6, 5)
    x = unrolled.Input((None, *shape[1:]))
    layer = layers.ConvLSTM2D(3, 2, padding="same", return_sequences=True, data_format=data_format)
    model = unrolled.Model(x, layer(x))
    array = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    expected = model.predict(array)
    stream = model.stream(batch_size=2)
    for t in range(4):
        np.testing.assert_array_equal(stream.step(array[:, t]), expected[:, t])


def test_a_conv_lstm_needs_fixed_sizes_and_no_dilated_strides() -> None:
    with pytest.raises(ValueError, match="must be known"):
        layers.ConvLSTM2D(2, 3).build((None, None, None, 8, 1))
    with pytest.raises(ValueError, match="dilation"):
        layers.ConvLSTM2D(2, 3, strides=2, dilation_rate=2)
    with pytest.raises(ValueError, match="rank 5"):
        layers.ConvLSTM2D(2, 3).build((None, 7, 8, 1))


def test_bidirectional_takes_conv_lstms() -> None:
    random = np.random.default_rng(0)
    layer = layers.Bidirectional(layers.ConvLSTM1D(3, 2, return_sequences=True))
    x = random.normal(size=(2, 4, 6, 2)).astype(np.float32)
    mask = np.array([[True, False, True, False], [False, True, True, True]])
    got = layer(x, mask=mask)
    for child in layer.children:
        child.zero_output_for_mask = True  # rule 9
    forward, backward = (reference(child, x, mask)[0] for child in layer.children)
    expected = np.concatenate([forward, backward[:, ::-1]], axis=-1)
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_conv_lstm_files_match_live_keras(package: str, tmp_path: Any) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras = pytest.importorskip(package)
    random = np.random.default_rng(0)
    for rank, options, wrapped, masked in itertools.product((1, 2), OPTIONS, (False, True), (False, True)):
        options = dict(options)
        if package == "tf_keras":
            options.pop("zero_output_for_mask", None)
            if options.pop("unroll", None):
                continue  # tf_keras refuses it
        elif wrapped and options.get("go_backwards"):
            continue  # Keras 3 refuses it
        layer = getattr(keras.layers, f"ConvLSTM{rank}D")(3, 2, **options)
        layer = keras.layers.Bidirectional(layer) if wrapped else layer
        shape = input_shape(rank, options)
        x, m = keras.Input(shape), keras.Input((4,), dtype="bool")
        model = keras.Model([x, m], layer(x, mask=m) if masked else layer(x))
        model.set_weights([random.normal(size=w.shape) * 0.4 for w in model.get_weights()])
        arrays = [random.normal(size=(3, *shape)).astype(np.float32), random.random((3, 4)) < 0.6]
        expected = model(arrays)
        model.save(tmp_path / "model.keras")
        got = unrolled.load_model(tmp_path / "model.keras").predict(arrays, verbose=0)
        many = isinstance(expected, list | tuple)
        for ours, theirs in zip(got if many else [got], expected if many else [expected], strict=True):
            what = f"{package} {rank} {options} {wrapped} {masked}"
            np.testing.assert_allclose(ours, np.asarray(theirs), atol=2e-6, rtol=2e-5, err_msg=what)
