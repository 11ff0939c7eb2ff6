# SPDX-License-Identifier: MIT
"""Every layer, under the rules of tf.keras, gives the numbers and masks that tf_keras gave (``make_expected.py``)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unrolled import layers
from unrolled.formats.config.versions import parse_version
from unrolled.layers import options

sys.path.insert(0, str(Path(__file__).parent))
from cases import CASES, make_layer, ready

EXPECTED = dict(np.load(Path(__file__).parent / "expected_tf_keras.npz"))
NUMBERS = [number for number in range(len(CASES)) if f"{number}/0" in EXPECTED]


def described(number: int) -> str:
    return f"{number}-{CASES[number]['class_name']}"


def build(number: int) -> tuple[Any, Any, dict[str, Any]]:
    """The layer, the arguments and the keywords of a call."""
    case = CASES[number]
    # Readers of files name Keras 2's function so.
    old = {
        key: "hard_sigmoid_v2" if value == "hard_sigmoid" else value for key, value in case["config"].items()
    }
    layer = make_layer(layers, case | {"config": old})
    options.set_semantics(layer, parse_version(str(EXPECTED["keras_version"])).semantics)
    return layer, *ready(layer, number)


@pytest.mark.parametrize("number", NUMBERS, ids=described)
def test_a_layer_gives_the_outputs_of_tf_keras(number: int) -> None:
    layer, args, call = build(number)
    result = layer(*args, **call)
    for index, output in enumerate(result if isinstance(result, list | tuple) else [result]):
        np.testing.assert_allclose(output, EXPECTED[f"{number}/{index}"], atol=2e-6, rtol=2e-5)


@pytest.mark.parametrize("number", NUMBERS, ids=described)
def test_a_layer_gives_the_masks_of_tf_keras(number: int) -> None:
    if CASES[number].get("spread"):
        pytest.skip("compute_mask takes one argument")
    layer, args, call = build(number)
    masks = layer.compute_mask(args[0], call.get("mask"))
    mask = masks[0] if isinstance(masks, list) else masks
    expected = EXPECTED.get(f"{number}/0/mask")
    assert (mask is None) == (expected is None)
    if expected is not None:
        np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize("number", NUMBERS, ids=described)
def test_a_layer_has_the_weights_of_tf_keras_in_their_order(number: int) -> None:
    if CASES[number]["config"].get("axis") == [2, 1]:
        pytest.skip("tf_keras has the sizes in the order of the axes, not sorted: such a file is refused")
    layer, _, _ = build(number)
    shapes = [str(weight.shape) for weight in layer.weights]
    keys = [key for key in EXPECTED if key.startswith(f"{number}/weight/")]
    assert shapes == [EXPECTED[f"{number}/weight/{index}"][1] for index in range(len(keys))]
