# SPDX-License-Identifier: MIT
"""int8 layers against the arithmetic of Keras in integers, and what quantised files may not hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unrolled import layers
from unrolled.formats.config.json_objects import decode_dtype
from unrolled.spec import UnsupportedValue


def int8_dense(x: Any, kernel: Any, bias: Any, scale: Any) -> Any:
    """keras 3.15 ``layers/core/dense.py``, ``_int8_call``, in int64 and float32."""
    factor = np.float32(127) / (np.abs(x).max(axis=-1, keepdims=True) + np.float32(1e-7))
    rounded = np.clip(np.round(x * factor), -127, 127).astype(np.int64)
    product = (rounded @ kernel.astype(np.int64)).astype(np.float32)
    return product / (scale * factor) + bias


@pytest.mark.parametrize("features", [1, 7, 1024, 1025, 3000])
def test_an_int8_dense_is_exact_in_integers(features: int) -> None:
    random = np.random.default_rng(features)
    layer = layers.Dense(5, dtype="int8_from_float32")
    x = random.normal(size=(4, features)).astype(np.float32)
    x[0] = np.abs(x[0]) * 100  # large sums
    layer.build(x.shape)
    kernel = random.integers(-127, 128, (features, 5))
    kernel[:, 0] = 127
    bias, scale = random.normal(size=5).astype(np.float32), random.random(5).astype(np.float32) + 1
    by_name = {"kernel": kernel, "bias": bias, "kernel_scale": scale}
    layer.set_weights([by_name[weight.name] for weight in layer.weights])
    np.testing.assert_allclose(layer(x), int8_dense(x, kernel, bias, scale), rtol=3e-7, atol=1e-6)


def test_halves_round_to_even() -> None:
    layer = layers.Dense(1, use_bias=False, dtype="int8_from_float32")
    x = np.array([[127.0, 0.5], [127.0, 1.5], [127.0, 2.5], [127.0, -0.5]], np.float32)
    layer.build(x.shape)
    values = {"kernel": [[0], [1]], "kernel_scale": [1.0]}
    layer.set_weights([values[weight.name] for weight in layer.weights])
    np.testing.assert_allclose(layer(x)[:, 0], [0, 2, 2, 0], atol=1e-6)


def policy(name: str) -> dict[str, Any]:
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": name}, "registered_name": None}


@pytest.mark.parametrize(
    ("default", "inner", "expected"),
    [
        (policy("mixed_float16"), [policy("float32")], "mixed_float16"),
        (None, [policy("bfloat16")], "float32"),
        (policy("float32"), [], "float32"),
    ],
)
def test_a_policy_map_of_floats_is_its_default(default: Any, inner: Any, expected: str) -> None:
    config = {"default_policy": default, "policy_map": {str(i): p for i, p in enumerate(inner)}}
    assert decode_dtype({"class_name": "DTypePolicyMap", "config": config}) == expected


def test_a_policy_map_with_quantised_layers_is_refused() -> None:
    quantised = {"class_name": "QuantizedDTypePolicy", "config": {"mode": "int8", "source_name": "float32"}}
    config = {"default_policy": policy("float32"), "policy_map": {"a": quantised}}
    assert isinstance(decode_dtype({"class_name": "DTypePolicyMap", "config": config}), UnsupportedValue)


@pytest.mark.parametrize(
    ("equation", "output_shape", "shape", "bias_axes"),
    [
        ("abc,cde->abde", (None, 2, 3), (4, 5), "de"),
        ("abcd,cde->abe", (None, 6), (4, 2, 5), "e"),
        ("abc,cd->adb", (6, 4), (4, 5), None),
        ("abc,cd->abd", (4, 6), (4, 5), "b"),
    ],
)
def test_an_int8_einsum_dense_scales_the_axes_that_it_sums(
    equation: str, output_shape: Any, shape: Any, bias_axes: Any
) -> None:
    """keras 3.15 ``layers/core/einsum_dense.py``, ``_int8_call``: scales are laid out as the output."""
    random = np.random.default_rng(0)
    layer = layers.EinsumDense(equation, output_shape, bias_axes=bias_axes, dtype="int8_from_float32")
    x = random.normal(size=(3, *shape)).astype(np.float32)
    layer.build(x.shape)
    by_name = {
        "kernel": random.integers(-127, 128, layer.kernel.shape),
        "kernel_scale": (random.random(layer.kernel_scale.shape) + 1).astype(np.float32),
    }
    if bias_axes is not None:
        by_name["bias"] = random.normal(size=layer.bias.shape).astype(np.float32)
    layer.set_weights([by_name[weight.name] for weight in layer.weights])
    before, after = equation.replace(",", "->").split("->")[0], equation.split("->")[1]
    kernel_axes = equation.split(",")[1].split("->")[0]
    summed = tuple(before.index(axis) for axis in before if axis in kernel_axes)
    factor = np.float32(127) / (np.abs(x).max(axis=summed, keepdims=True) + np.float32(1e-7))
    rounded = np.clip(np.round(x * factor), -127, 127)
    product = np.einsum(equation, rounded, by_name["kernel"].astype(np.float64)).astype(np.float32)
    kept = "".join(axis for axis in before if axis not in kernel_axes)
    sizes = [factor.shape[before.index(axis)] if axis in kept else 1 for axis in after]
    aligned = factor.reshape(sizes)
    expected = product / (aligned * by_name["kernel_scale"]) + by_name.get("bias", 0)
    np.testing.assert_allclose(layer(x), expected, rtol=3e-6, atol=1e-6)
    again = layers.EinsumDense.from_config(layer.get_config())
    assert again.is_int8
