# SPDX-License-Identifier: MIT
"""Layers that Keras 3 quantised to int8: their options, and the arithmetic of their inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unrolled import activations
from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError

# keras 3.15 quantizers/quantizers.py, AbsMaxQuantizer.
LARGEST = 127.0
EPSILON = 1e-7
# Adding it to a float32 up to 2^22 and subtracting it rounds to the nearest integer, halves to even.
ROUNDING = 1.5 * 2**23

# 127 * 127 * 1024 < 2^24.
EXACT_TERMS = 1024

HOW = "only int8 quantisation by AbsMaxQuantizer is supported; save the model before quantize()"


def take_int8(arguments: dict[str, Any], config: Any) -> tuple[bool, bool]:
    """Whether a layer's weights, and its inputs, are int8; its dtype in ``arguments`` becomes float32.

    Parameters
    ----------
    arguments : dict
        The layer's keyword arguments; "dtype" may be "int8_from_float32".
    config : mapping or None
        The layer's ``quantization_config``.
    """
    dtype = arguments.get("dtype")
    if not (isinstance(dtype, str) and dtype.startswith("int8_from_")):
        if config is not None:
            raise ConfigError("quantization_config", config, HOW)
        return False, False
    arguments["dtype"] = dtype.removeprefix("int8_from_")
    if config is None:
        return True, True
    options = config.get("config") if isinstance(config, Mapping) else None
    if (
        not isinstance(options, Mapping)
        or config.get("class_name") != "Int8QuantizationConfig"
        or not set(options) <= {"weight_quantizer", "activation_quantizer"}
    ):
        raise ConfigError("quantization_config", config, HOW)
    # How the weights were made does not matter any more.
    quantizer = options.get("activation_quantizer")
    if quantizer is None:
        return True, False
    inner = quantizer.get("config") if isinstance(quantizer, Mapping) else None
    if not isinstance(inner, Mapping) or quantizer.get("class_name") != "AbsMaxQuantizer":
        raise ConfigError("quantization_config", config, HOW)
    value_range, epsilon = inner.get("value_range", (-127, 127)), inner.get("epsilon", EPSILON)
    if list(value_range) != [-127, 127] or epsilon != EPSILON:
        raise ConfigError("quantization_config", config, HOW)
    return True, True


def quantize_rows(plan: Lowering, x: Flow) -> tuple[int, int]:
    """``x`` as integers from -127 to 127 in float32, and the factor of every row, ``(..., 1)``."""
    ops = plan.ops

    def constant(value: float) -> int:
        return ops.constant(np.asarray(value, np.float32))

    negative = ops.binary("multiply", x.value, constant(-1.0))
    size = ops.binary("maximum", x.value, negative)
    largest = ops.reduce(size, kind="max", axes=(len(x.shape) - 1,), keepdims=True)
    factor = ops.binary("divide", constant(LARGEST), ops.binary("add", largest, constant(EPSILON)))
    scaled = ops.binary("multiply", x.value, factor)
    rounded = ops.binary("subtract", ops.binary("add", scaled, constant(ROUNDING)), constant(ROUNDING))
    clipped = ops.binary("minimum", ops.binary("maximum", rounded, constant(-LARGEST)), constant(LARGEST))
    return clipped, factor


def int8_dense(plan: Lowering, x: Flow, kernel: Any, scale: Any, bias: Any, *, quantize_inputs: bool) -> int:
    """``x`` times an int8 kernel, divided by the scales of kernel and rows, with bias.

    Keras sums in int32. Sums of ``EXACT_TERMS`` products are integers below 2^24, exact in float32; more are
    summed in parts, which rounds once where the whole is beyond 2^24, as Keras's conversion to float32 does.
    """
    ops = plan.ops
    value, divisor = x.value, ops.constant(scale)
    if quantize_inputs:
        value, factor = quantize_rows(plan, x)
        divisor = ops.binary("multiply", divisor, factor)
    product = -1
    # Inputs that are not quantised are no integers: there is nothing to keep exact.
    step = EXACT_TERMS if quantize_inputs else len(kernel)
    for start in range(0, len(kernel), step):
        rows = np.ascontiguousarray(kernel[start : start + step])
        part = value
        if len(rows) < len(kernel):
            part = ops.slice(value, axis=len(x.shape) - 1, start=start, stop=start + len(rows))
        partial = ops.dense(part, rows, None, activations.linear.core())
        product = partial if start == 0 else ops.binary("add", product, partial)
    result = ops.binary("divide", product, divisor)
    return result if bias is None else ops.binary("add", result, ops.constant(bias))
