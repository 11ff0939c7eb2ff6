# SPDX-License-Identifier: MIT
"""Every layer gives the numbers, masks, shapes and weights that Keras gave (``make_expected.py``)."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unrolled
from unrolled import layers
from unrolled.layers import options
from unrolled.semantics import KERAS_3

sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES, make_layer, masks_of, ready

EXPECTED = dict(np.load(Path(__file__).parent / "expected.npz"))


def outputs(result: Any) -> list[Any]:
    return list(result) if isinstance(result, list | tuple) else [result]


def described(number: int) -> str:
    return f"{number}-{CASES[number]['class_name']}"


def build(number: int) -> tuple[Any, Any, dict[str, Any]]:
    layer = make_layer(layers, CASES[number])
    # The masks of the case travel on Keras's tensors; arrays have none, and a mask given beside them counts so.
    options.set_semantics(layer, replace(KERAS_3, query_mask_counts=True))
    arguments, call = ready(layer, number)
    return layer, arguments if CASES[number].get("spread") else arguments[0], call


def run(number: int, layer: Any, inputs: Any, call: dict[str, Any]) -> list[Any]:
    if CASES[number].get("spread"):
        return outputs(layer(*inputs, **call))
    return outputs(layer(inputs, **call))


@pytest.mark.parametrize("number", range(len(CASES)), ids=described)
def test_a_layer_gives_the_outputs_of_keras(number: int) -> None:
    layer, inputs, call = build(number)
    for index, output in enumerate(run(number, layer, inputs, call)):
        np.testing.assert_allclose(output, EXPECTED[f"{number}/{index}"], atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("number", range(len(CASES)), ids=described)
def test_a_layer_gives_the_masks_of_keras(number: int) -> None:
    if CASES[number].get("spread"):
        pytest.skip("compute_mask takes one argument")
    layer, inputs, call = build(number)
    masks = outputs(layer.compute_mask(inputs, call.get("mask")))
    expected = EXPECTED.get(f"{number}/0/mask")
    assert (masks[0] is None) == (expected is None)
    if expected is not None:
        np.testing.assert_array_equal(masks[0], expected)


@pytest.mark.parametrize("number", range(len(CASES)), ids=described)
def test_a_layer_has_the_weights_of_keras_in_their_order(number: int) -> None:
    layer, _, _ = build(number)
    found = [[weight.name, str(weight.shape)] for weight in layer.weights]
    names = [key for key in EXPECTED if key.startswith(f"{number}/weight/")]
    assert found == [EXPECTED[f"{number}/weight/{index}"].tolist() for index in range(len(names))]


@pytest.mark.parametrize("number", range(len(CASES)), ids=described)
def test_a_layer_knows_its_output_shape(number: int) -> None:
    layer, inputs, _ = build(number)
    shapes = [x.shape for x in inputs] if isinstance(inputs, list) else inputs.shape
    assert tuple(layer.compute_output_shape(shapes)) == EXPECTED[f"{number}/0"].shape


@pytest.mark.parametrize("number", range(len(CASES)), ids=described)
def test_a_layer_runs_with_unknown_sizes_as_in_a_model(number: int) -> None:
    layer, inputs, _ = build(number)
    if isinstance(inputs, list) or masks_of(number) is not None:
        pytest.skip("one input without a mask only")
    dtype = "int32" if CASES[number]["class_name"] == "Embedding" else "float32"
    x = unrolled.Input(batch_shape=(None, *inputs.shape[1:]), dtype=dtype)
    model = unrolled.Model(x, layer(x))
    result = model.predict(inputs)
    assert model.output_shape[1:] == result.shape[1:]
    np.testing.assert_allclose(result, EXPECTED[f"{number}/0"], atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("number", range(len(CASES)), ids=described)
def test_a_config_makes_the_same_layer_again(number: int) -> None:
    layer, inputs, call = build(number)
    again = type(layer).from_config(layer.get_config())
    options.set_semantics(again, layer.semantics)
    assert again.get_config() == layer.get_config()
    again.build([x.shape for x in inputs] if isinstance(inputs, list) else inputs.shape)
    again.set_weights(layer.get_weights())
    for first, second in zip(run(number, layer, inputs, call), run(number, again, inputs, call), strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_scale_of_rms_normalization_is_along_the_last_axes_whichever_it_normalises() -> None:
    layer = layers.RMSNormalization(axis=1, epsilon=0.0)
    x = np.array([[[3.0, 4.0], [4.0, 3.0]]], np.float32)
    layer.build(x.shape)
    layer.set_weights([np.array([1.0, 10.0], np.float32)])
    root = np.sqrt(12.5)
    np.testing.assert_allclose(layer(x), [[[3 / root, 40 / root], [4 / root, 30 / root]]], rtol=1e-6)
    other = layers.RMSNormalization(axis=1)
    with pytest.raises(ValueError, match="Keras fails"):
        other(np.ones((1, 3, 2), np.float32))
