# SPDX-License-Identifier: MIT
"""Configs are checked key by key: nothing unknown passes, and bad values are refused with their key."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest

from unrolled import activations, initializers, layers
from unrolled.errors import ConfigError, Problem
from unrolled.layers import building, registry
from unrolled.layers.base import Layer
from unrolled.semantics import KERAS_3
from unrolled.spec import LayerSpec, UnsupportedValue

CLASSES = registry.layer_classes()

# Arguments without a default, for classes that need some.
REQUIRED: dict[str, Any] = {
    "units": 2, "cell": layers.LSTMCell(2), "cells": [layers.GRUCell(2)], "activation": "relu",
    "input_dim": 5, "output_dim": 2, "rate": 0.5, "stddev": 0.5, "filters": 2, "kernel_size": 2,
    "target_shape": [2], "dims": [1], "n": 2, "scale": 2.0, "axes": 1, "num_heads": 2, "key_dim": 2,
    "equation": "ab,bc->ac", "output_shape": 2, "shape": [3], "num_tokens": 3, "max_tokens": None,
    "vocabulary": [1, 2], "axis": 1, "repeats": 2, "newshape": [2], "dtype": "float32",
}  # fmt: skip


def config_of(cls: type[Layer]) -> dict[str, Any]:
    config = {"layer": layers.LSTM(2) if cls.__name__ == "Bidirectional" else layers.Dense(2)}
    needed = {}
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            needed[parameter.name] = config.get(parameter.name, REQUIRED.get(parameter.name))
    if cls.__name__ == "InputLayer":
        needed["shape"] = [3]
    if cls.__name__ == "IntegerLookup":
        needed["vocabulary"] = [1, 2]
    if cls.__name__ in ("StringLookup", "TextVectorization"):
        needed["vocabulary"] = ["a", "b"]
    return needed


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_invented_key_is_a_problem_that_names_it(name: str) -> None:
    problems: list[Problem] = []
    config = config_of(CLASSES[name]) | {"invented_key": 1}
    assert (
        building.build_layer(LayerSpec(name, "mine", config), building.BuildContext(KERAS_3, problems))
        is None
    )
    assert [(p.layer, p.class_name, p.key) for p in problems] == [("mine", name, "invented_key")]


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_layer_builds_from_its_config_in_a_file(name: str) -> None:
    problems: list[Problem] = []
    layer = building.build_layer(
        LayerSpec(name, "mine", config_of(CLASSES[name])), building.BuildContext(KERAS_3, problems)
    )
    assert not problems
    assert layer is not None
    assert layer.class_name == name


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_ignored_key_has_a_reason_and_is_not_used(name: str) -> None:
    cls = CLASSES[name]
    for key, reason in cls.ignored_keys().items():
        assert len(reason) > 10, key
        assert key not in cls.config_keys(), key


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_code_in_a_config_is_a_problem(name: str) -> None:
    used = [key for key in CLASSES[name].config_keys() if key not in ("name",)]
    problems: list[Problem] = []
    config = config_of(CLASSES[name]) | {used[0]: UnsupportedValue("a lambda")}
    assert (
        building.build_layer(LayerSpec(name, "mine", config), building.BuildContext(KERAS_3, problems))
        is None
    )
    assert used[0] in [problem.key for problem in problems]


BAD_VALUES: list[tuple[str, dict[str, Any], str]] = [
    *(("Dense", {"units": value}, "units") for value in (-1, 0, 2**40, 1.5, "4", None, True, [3])),
    ("Dense", {"units": 4, "activation": "no_such"}, "activation"),
    ("Dense", {"units": 4, "activation": 3}, "activation"),
    ("Dense", {"units": 4, "use_bias": "yes"}, "use_bias"),
    ("Dense", {"units": 4, "kernel_initializer": "no_such"}, "kernel_initializer"),
    ("Dense", {"units": 4, "quantization_config": {"mode": "int8"}}, "quantization_config"),
    ("Dense", {"units": 4, "dtype": "complex64"}, "dtype"),
    ("Dense", {"units": 4, "dtype": "int4_from_float32"}, "dtype"),
    (
        "Dense",
        {
            "units": 4,
            "dtype": "int8_from_float32",
            "quantization_config": {"class_name": "Mine", "config": {}},
        },
        "quantization_config",
    ),
    ("Conv1D", {"filters": 2, "kernel_size": 2, "dtype": "int8_from_float32"}, "dtype"),
    ("Embedding", {"input_dim": -5, "output_dim": 2}, "input_dim"),
    ("Embedding", {"input_dim": 5, "output_dim": 2**33}, "output_dim"),
    ("Embedding", {"input_dim": 5, "output_dim": 2, "input_length": -1}, "input_length"),
    ("Masking", {"mask_value": math.nan}, "mask_value"),
    ("Masking", {"mask_value": math.inf}, "mask_value"),
    ("Dropout", {"rate": 1.5}, "rate"),
    ("Dropout", {"rate": math.nan}, "rate"),
    ("GaussianNoise", {"stddev": -1.0}, "stddev"),
    ("ReLU", {"max_value": -1.0}, "max_value"),
    ("ReLU", {"threshold": math.nan}, "threshold"),
    ("LeakyReLU", {"alpha": math.inf}, "alpha"),
    ("PReLU", {"shared_axes": [0]}, "shared_axes"),
    ("Softmax", {"axis": [1, 2]}, "axis"),
    ("BatchNormalization", {"axis": 0}, "axis"),
    ("BatchNormalization", {"axis": [1, 2]}, "axis"),
    ("BatchNormalization", {"epsilon": -1e-3}, "epsilon"),
    ("BatchNormalization", {"virtual_batch_size": 4}, "virtual_batch_size"),
    ("LayerNormalization", {"axis": []}, "axis"),
    ("LayerNormalization", {"axis": [1, 1]}, "axis"),
    ("LayerNormalization", {"rms_scaling": True}, "rms_scaling"),
    ("GroupNormalization", {"groups": 0}, "groups"),
    ("Conv1D", {"filters": 0, "kernel_size": 2}, "filters"),
    ("Conv1D", {"filters": 2, "kernel_size": 0}, "kernel_size"),
    ("Conv1D", {"filters": 2, "kernel_size": [2, 2]}, "kernel_size"),
    ("Conv1D", {"filters": 2, "kernel_size": 2, "strides": 0}, "strides"),
    ("Conv1D", {"filters": 2, "kernel_size": 2, "dilation_rate": -1}, "dilation_rate"),
    ("Conv1D", {"filters": 2, "kernel_size": 2, "padding": "full"}, "padding"),
    ("Conv1D", {"filters": 3, "kernel_size": 2, "groups": 2}, "groups"),
    ("Conv1D", {"filters": 2, "kernel_size": 2, "data_format": "first"}, "data_format"),
    ("Conv2D", {"filters": 2, "kernel_size": 2, "padding": "causal"}, "padding"),
    ("Conv1DTranspose", {"filters": 2, "kernel_size": 2, "output_padding": 1}, "output_padding"),
    ("MaxPooling1D", {"pool_size": 0}, "pool_size"),
    ("MaxPooling1D", {"strides": 0}, "strides"),
    ("MaxPooling1D", {"padding": "causal"}, "padding"),
    ("GlobalMaxPooling1D", {"keepdims": 2}, "keepdims"),
    ("Reshape", {"target_shape": [-1, -1]}, "target_shape"),
    ("Reshape", {"target_shape": [2**20, 2**20]}, "target_shape"),
    ("Reshape", {"target_shape": [0]}, "target_shape"),
    ("Permute", {"dims": [1, 1]}, "dims"),
    ("Permute", {"dims": [0, 1]}, "dims"),
    ("RepeatVector", {"n": -1}, "n"),
    ("RepeatVector", {"n": 2**31}, "n"),
    ("Cropping1D", {"cropping": [-1, 0]}, "cropping"),
    ("ZeroPadding1D", {"padding": [1, 2, 3]}, "padding"),
    ("ZeroPadding2D", {"padding": 2**30}, "padding"),
    ("UpSampling1D", {"size": 0}, "size"),
    ("UpSampling2D", {"interpolation": "bicubic"}, "interpolation"),
    ("Rescaling", {"scale": "x"}, "scale"),
    ("Rescaling", {"scale": [[1.0], [2.0, 3.0]]}, "scale"),
    ("Rescaling", {"scale": math.nan}, "scale"),
    ("Normalization", {"mean": 1.0}, "mean"),
    ("Normalization", {"mean": [1.0], "variance": [-1.0]}, "variance"),
    ("CategoryEncoding", {"num_tokens": 2**40}, "num_tokens"),
    ("CategoryEncoding", {"num_tokens": 4, "output_mode": "int"}, "output_mode"),
    ("IntegerLookup", {}, "vocabulary"),
    ("IntegerLookup", {"vocabulary": [1, 1]}, "vocabulary"),
    ("IntegerLookup", {"vocabulary": [1], "num_oov_indices": -1}, "num_oov_indices"),
    ("IntegerLookup", {"vocabulary": [1], "output_mode": "tf_idf"}, "idf_weights"),
    ("IntegerLookup", {"vocabulary": ["a"]}, "vocabulary"),
    ("IntegerLookup", {"vocabulary": [1], "invert": True, "output_mode": "count"}, "invert"),
    ("StringLookup", {}, "vocabulary"),
    ("StringLookup", {"vocabulary": "/etc/passwd"}, "vocabulary"),
    ("StringLookup", {"vocabulary": ["a", "a"]}, "vocabulary"),
    ("StringLookup", {"vocabulary": ["a", 1]}, "vocabulary"),
    ("StringLookup", {"vocabulary": ["\ud800"]}, "vocabulary"),
    ("StringLookup", {"vocabulary": ["a"], "encoding": "latin-1"}, "encoding"),
    ("StringLookup", {"vocabulary": ["a"], "salt": "x"}, "salt"),
    ("StringLookup", {"vocabulary": ["a"], "pad_to_max_tokens": True}, "max_tokens"),
    ("StringLookup", {"vocabulary": ["a"], "sparse": True, "output_mode": "count"}, "sparse"),
    (
        "StringLookup",
        {"vocabulary": ["a"], "output_mode": "tf_idf", "idf_weights": [math.nan]},
        "idf_weights",
    ),
    ("TextVectorization", {}, "vocabulary"),
    ("TextVectorization", {"vocabulary": "words.txt"}, "vocabulary"),
    ("TextVectorization", {"vocabulary": ["a"], "standardize": "upper"}, "standardize"),
    ("TextVectorization", {"vocabulary": ["a"], "split": "words"}, "split"),
    ("TextVectorization", {"vocabulary": ["a"], "ngrams": 0}, "ngrams"),
    ("TextVectorization", {"vocabulary": ["a"], "ragged": True}, "ragged"),
    ("TextVectorization", {"vocabulary": ["a"], "output_mode": "one_hot"}, "output_mode"),
    ("TextVectorization", {"vocabulary": ["a", "b"], "max_tokens": 3}, "max_tokens"),
    (
        "TextVectorization",
        {"vocabulary": ["a"], "output_mode": "count", "output_sequence_length": 3},
        "output_sequence_length",
    ),
    ("Concatenate", {"axis": 0}, "axis"),
    ("Concatenate", {"axis": 1.5}, "axis"),
    ("Dot", {"axes": 0}, "axes"),
    ("Dot", {"axes": [1, 2, 3]}, "axes"),
    ("EinsumDense", {"equation": "ab->b", "output_shape": 2}, "equation"),
    ("EinsumDense", {"equation": "abc,bcd->abd", "output_shape": 2}, "equation"),
    ("EinsumDense", {"equation": "ab,bc->ac", "output_shape": [-2]}, "output_shape"),
    ("EinsumDense", {"equation": "ab,bc->ac", "output_shape": 2, "bias_axes": "x"}, "bias_axes"),
    ("Attention", {"score_mode": "cosine"}, "score_mode"),
    ("Attention", {"dropout": -1.0}, "dropout"),
    ("MultiHeadAttention", {"num_heads": 0, "key_dim": 2}, "num_heads"),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 2, "attention_axes": [1, 2]}, "attention_axes"),
    ("MultiHeadAttention", {"num_heads": 2, "key_dim": 2, "use_gate": True}, "use_gate"),
    ("InputLayer", {"shape": [-3]}, "shape"),
    ("InputLayer", {"batch_shape": "x"}, "batch_shape"),
    ("InputLayer", {"shape": [3], "sparse": True}, "sparse"),
    ("InputLayer", {"shape": [3], "dtype": "complex64"}, "dtype"),
]


@pytest.mark.parametrize(("name", "config", "key"), BAD_VALUES, ids=lambda value: str(value)[:40])
def test_a_bad_value_is_refused_with_its_key(name: str, config: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        CLASSES[name](**config)
    assert error.value.key == key
    problems: list[Problem] = []
    assert (
        building.build_layer(LayerSpec(name, "mine", config), building.BuildContext(KERAS_3, problems))
        is None
    )
    assert key in [problem.key for problem in problems]


def test_all_bad_values_of_a_layer_are_reported_together() -> None:
    problems: list[Problem] = []
    config = {"filters": 2, "kernel_size": 2, "strides": 0, "padding": "x", "nonsense": 1}
    building.build_layer(LayerSpec("Conv1D", "mine", config), building.BuildContext(KERAS_3, problems))
    assert [problem.key for problem in problems] == ["nonsense", "strides", "padding"]


BAD_SHAPES: list[tuple[Layer, tuple[int | None, ...]]] = [
    (layers.Dense(2), (3,)),
    (layers.Dense(2), (None, None)),
    (layers.Conv1D(2, 5), (None, 3, 2)),
    (layers.Conv1D(2, 2), (None, 3)),
    (layers.Conv1D(2, 2, groups=2), (None, 5, 3)),
    (layers.MaxPooling1D(4), (None, 3, 2)),
    (layers.Reshape([5]), (None, 4)),
    (layers.Permute([2, 1]), (None, 4)),
    (layers.RepeatVector(2), (None, 4, 3)),
    (layers.RepeatVector(2**20), (None, 2**20)),
    (layers.Cropping1D(3), (None, 5, 2)),
    (layers.LayerNormalization(axis=3), (None, 4)),
    (layers.LayerNormalization(axis=[1, -1]), (None, 4)),
    (layers.GroupNormalization(3), (None, 4)),
    (layers.BatchNormalization(axis=2), (None, 4)),
    (layers.PReLU(shared_axes=[3]), (None, 4)),
    (layers.Rescaling([1.0, 2.0]), (None, 3)),
    (layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 1.0]), (None, 3)),
    (layers.Embedding(4, 2, input_length=3), (None, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), BAD_SHAPES, ids=lambda value: str(value)[:40])
def test_a_shape_that_does_not_fit_is_an_error_that_names_the_layer(layer: Layer, shape: Any) -> None:
    def build() -> None:
        layer.build(shape)
        layer.compute_output_shape(shape)

    with pytest.raises(ValueError, match=layer.name):
        build()


def test_claiming_huge_weights_allocates_nothing() -> None:
    layer = layers.Dense(2**30)
    layer.build((None, 2**30))
    assert layer.count_params() == 2**60 + 2**30


def test_training_is_refused_where_it_would_draw_random_numbers() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="training=True"):
        layers.Dropout(0.5)(x, training=True)
    assert layers.Dropout(0.0)(x, training=True).tolist() == x.tolist()
    assert layers.Dropout(0.5)(x, training=False).tolist() == x.tolist()
    with pytest.raises(ValueError, match="training=True"):
        layers.BatchNormalization()(x, training=True)
    layers.BatchNormalization(trainable=False)(x, training=True)


def test_layers_serve_as_activations() -> None:
    x = np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)
    identity = layers.Dense(4, activation=layers.LeakyReLU(0.5), kernel_initializer="identity")
    np.testing.assert_array_equal(identity(x), np.where(x > 0, x, 0.5 * x))
    again = layers.Dense.from_config(identity.get_config())
    assert again.activation == identity.activation
    with pytest.raises(ConfigError, match="weights"):
        layers.Dense(4, activation=layers.PReLU())


def test_old_hard_sigmoid_has_its_own_name() -> None:
    x = np.linspace(-4, 4, 33, dtype=np.float32)
    np.testing.assert_allclose(activations.hard_sigmoid(x), np.clip(x / 6 + 0.5, 0, 1), atol=1e-7)
    np.testing.assert_allclose(activations.hard_sigmoid_v2(x), np.clip(0.2 * x + 0.5, 0, 1), atol=1e-7)


def test_thresholded_relu_is_zero_at_its_threshold() -> None:
    x = np.array([[-1.0, 1.0, 1.5]], np.float32)
    assert layers.ThresholdedReLU(1.0)(x).tolist() == [[0.0, 0.0, 1.5]]


def test_initializers_have_keras_scales() -> None:
    shape = (200, 300)
    for name, variance in {
        "glorot_uniform": 2 / 500, "glorot_normal": 2 / 500, "he_uniform": 2 / 200, "he_normal": 2 / 200,
        "lecun_uniform": 1 / 200, "lecun_normal": 1 / 200, "random_normal": 0.05**2,
        "random_uniform": 0.1**2 / 12,
    }.items():  # fmt: skip
        values = initializers.get(name)(shape)
        assert values.dtype == np.float32
        assert abs(values.var() / variance - 1) < 0.03, name
    assert np.abs(initializers.get("truncated_normal")(shape)).max() <= 0.1
    assert initializers.compute_fans((3, 4, 5)) == (12, 15)


def test_initializers_repeat_their_values_and_follow_the_seed() -> None:
    from unrolled import utils

    one = initializers.get("glorot_uniform")
    np.testing.assert_array_equal(one((3, 4)), one((3, 4)))
    assert (initializers.get("glorot_uniform")((3, 4)) != one((3, 4))).any()
    values = []
    for _ in range(2):
        utils.set_random_seed(3)
        values.append(layers.LSTM(3)(np.ones((1, 2, 4))))
    np.testing.assert_array_equal(*values)


def test_initializers_of_a_file_are_read_and_custom_ones_only_stand_in() -> None:
    config = {"class_name": "Constant", "config": {"value": 2.0}, "module": "keras.initializers"}
    assert (initializers.get(config)((2, 3)) == 2.0).all()
    assert initializers.get({"class_name": "Mine", "config": {"a": 1}})((2, 3)).shape == (2, 3)
    assert (initializers.get(np.ones((2, 3)))((2, 3)) == 1.0).all()
    assert (initializers.get(lambda shape, dtype=None: np.full(shape, 3.0))((2, 3)) == 3.0).all()
    for name in ("glorot_uniform", "orthogonal", "zeros"):
        again = initializers.get(initializers.serialize(initializers.get(name)))
        assert type(again) is type(initializers.get(name))


def test_int8_rows_are_rounded_half_to_even_as_keras_does() -> None:
    layer = layers.Dense(2, dtype="int8_from_float32", use_bias=False)
    layer.build((None, 4))
    kernel = np.array([[1, 2], [3, -4], [5, 6], [-7, 8]], np.float32)
    layer.set_weights([kernel, [2.0, 4.0]])
    # The factor of the row is 127 / (127 + 1e-7): products are halves, which go to even numbers.
    x = np.array([[127.0, 0.5, 1.5, -2.5]], np.float32)
    quantized = np.array([[127.0, 0.0, 2.0, -2.0]])
    np.testing.assert_allclose(layer(x), quantized @ kernel / [2.0, 4.0], rtol=1e-6)
    again = layers.Dense.from_config(layer.get_config())
    assert again.is_int8
    assert again.get_config() == layer.get_config()
