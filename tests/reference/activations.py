# SPDX-License-Identifier: MIT
"""Every activation that a Keras config may name, in float64, as its textbook formula.

The names are those of keras 3.15 ``activations/__init__.py`` and tf_keras 2.21 ``activations.py``.
"""

from __future__ import annotations

import math

import numpy as np

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


def linear(x):
    return x


def relu(x, negative_slope=0.0, max_value=None, threshold=0.0):
    """Keras's general ReLU; the layer ``ReLU`` sets the three options."""
    result = np.where(x > threshold, x, negative_slope * (x - threshold))
    if max_value is not None:
        result = np.minimum(result, max_value)
    return result


def relu6(x):
    return np.minimum(np.maximum(x, 0), 6)


def leaky_relu(x, negative_slope=0.2):
    return np.where(x >= 0, x, negative_slope * x)


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def hard_sigmoid(x):
    """Keras 3: slope 1/6."""
    return np.clip(x / 6 + 0.5, 0, 1)


def hard_sigmoid_v2(x):
    """Keras 1, 2 and tf.keras: slope 0.2."""
    return np.clip(0.2 * x + 0.5, 0, 1)


def tanh(x):
    return np.tanh(x)


def softmax(x, axis=-1):
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax(x, axis=-1):
    shifted = x - np.max(x, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def softplus(x):
    return np.logaddexp(0, x)


def softsign(x):
    return x / (1 + np.abs(x))


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def selu(x):
    return SELU_SCALE * elu(x, SELU_ALPHA)


def celu(x, alpha=1.0):
    return np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha)


def gelu(x, approximate=False):
    if approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))


def silu(x):
    return x * sigmoid(x)


def hard_silu(x):
    return x * hard_sigmoid(x)


def exponential(x):
    return np.exp(x)


def mish(x):
    return x * np.tanh(softplus(x))


def glu(x, axis=-1):
    a, b = np.split(x, 2, axis=axis)
    return a * sigmoid(b)


def squareplus(x, b=4):
    return (x + np.sqrt(x * x + b)) / 2


def hard_tanh(x):
    return np.clip(x, -1, 1)


def tanh_shrink(x):
    return x - np.tanh(x)


def soft_shrink(x, threshold=0.5):
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0)


def hard_shrink(x, threshold=0.5):
    return np.where(np.abs(x) > threshold, x, 0)


def sparse_plus(x):
    return np.where(x <= -1, 0, np.where(x < 1, 0.25 * (x + 1) ** 2, x))


def sparse_sigmoid(x):
    return np.clip(0.5 * (x + 1), 0, 1)


def sparsemax(x, axis=-1):
    """As Keras 3 computes it (``backend/tensorflow/nn.py`` of 3.15), which is not the sparsemax of Martins
    and Astudillo 2016: it sums the cumulated sums of the support where they take the last one. The two
    agree only where the support is a single cell.
    """
    x = np.moveaxis(x, axis, -1)
    ordered = -np.sort(-x, axis=-1)
    sums = np.cumsum(ordered, axis=-1)
    ranks = np.arange(1, x.shape[-1] + 1)
    inside = ordered - (sums - 1) / ranks > 0
    count = np.sum(inside, axis=-1, keepdims=True)
    tau = (np.sum(np.where(inside, sums, 0), axis=-1, keepdims=True) - 1) / count
    return np.moveaxis(np.maximum(x - tau, 0), -1, axis)


def log_sigmoid(x):
    return -softplus(-x)


# Names that both Keras 2 (tf_keras 2.21) and Keras 3 know.
SHARED = {
    "linear": linear,
    "relu": relu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
    "softplus": softplus,
    "softsign": softsign,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "swish": silu,
    "exponential": exponential,
    "mish": mish,
}
KERAS_2 = SHARED | {"hard_sigmoid": hard_sigmoid_v2}
KERAS_3 = SHARED | {
    "hard_sigmoid": hard_sigmoid,
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "silu": silu,
    "log_softmax": log_softmax,
    "celu": celu,
    "glu": glu,
    "squareplus": squareplus,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
    "hard_tanh": hard_tanh,
    "tanh_shrink": tanh_shrink,
    "soft_shrink": soft_shrink,
    "hard_shrink": hard_shrink,
    "sparse_plus": sparse_plus,
    "sparse_sigmoid": sparse_sigmoid,
    "sparsemax": sparsemax,
    "log_sigmoid": log_sigmoid,
}


def get(name, semantics="keras3"):
    """The function of a config's activation; ``semantics`` is "keras2" or "keras3"."""
    if name is None:
        return linear
    return (KERAS_2 if semantics == "keras2" else KERAS_3)[name]
