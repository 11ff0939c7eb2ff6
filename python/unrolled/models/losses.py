# SPDX-License-Identifier: MIT
"""Keras's losses as numbers for each sample: keras 3.15 ``losses/losses.py``, in float32.

Cross-entropies are computed from the outputs; Keras on TensorFlow goes back to the logits before a last softmax or
sigmoid, which differs where outputs are so close to 0 or 1 that they are clipped.

Each takes ``y_true`` and ``y_pred`` of the same rank, ``(batch, ..., classes)``, and gives ``(batch, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# y_true and y_pred to a number for each sample.
Loss = Callable[[Array, Array], Array]

EPSILON = np.float32(1e-7)


def mean_squared_error(y_true: Array, y_pred: Array) -> Array:
    """The mean of the squared differences."""
    return np.asarray(np.mean(np.square(y_true - y_pred), axis=-1))


def mean_absolute_error(y_true: Array, y_pred: Array) -> Array:
    """The mean of the absolute differences."""
    return np.asarray(np.mean(np.abs(y_true - y_pred), axis=-1))


def mean_absolute_percentage_error(y_true: Array, y_pred: Array) -> Array:
    """100 times the mean of the differences relative to ``y_true``."""
    relative = np.abs((y_true - y_pred) / np.maximum(np.abs(y_true), EPSILON))
    return np.asarray(np.float32(100) * np.mean(relative, axis=-1))


def mean_squared_logarithmic_error(y_true: Array, y_pred: Array) -> Array:
    """The mean of the squared differences of ``log(1 + y)``."""
    first, second = [np.log(np.maximum(y, EPSILON) + np.float32(1)) for y in (y_pred, y_true)]
    return np.asarray(np.mean(np.square(first - second), axis=-1))


def huber(y_true: Array, y_pred: Array, delta: float = 1.0) -> Array:
    """Quadratic up to ``delta``, linear beyond."""
    limit = np.float32(delta)
    error = np.abs(y_true - y_pred)
    half = np.float32(0.5)
    values = np.where(error <= limit, half * np.square(error), limit * error - half * limit * limit)
    return np.asarray(np.mean(values, axis=-1))


def log_cosh(y_true: Array, y_pred: Array) -> Array:
    """The mean of the logarithm of the hyperbolic cosine of the differences."""
    x = y_pred - y_true
    return np.asarray(np.mean(x + np.logaddexp(-2 * x, 0) - np.float32(np.log(2.0)), axis=-1))


def _signs(y_true: Array) -> Array:
    """Labels 0 and 1 as -1 and 1."""
    is_binary = bool(np.isin(y_true, (0, 1)).all())
    return 2 * y_true - 1 if is_binary else y_true


def hinge(y_true: Array, y_pred: Array) -> Array:
    """The mean of ``max(1 - y_true * y_pred, 0)`` with labels -1 and 1."""
    return np.asarray(np.mean(np.maximum(1 - _signs(y_true) * y_pred, 0), axis=-1))


def squared_hinge(y_true: Array, y_pred: Array) -> Array:
    """The mean of the squares of what ``hinge`` takes the mean of."""
    return np.asarray(np.mean(np.square(np.maximum(1 - _signs(y_true) * y_pred, 0)), axis=-1))


def categorical_hinge(y_true: Array, y_pred: Array) -> Array:
    """How far the right class is below the best wrong one, plus 1; at least 0."""
    right = np.sum(y_true * y_pred, axis=-1)
    wrong = np.max((1 - y_true) * y_pred, axis=-1)
    return np.asarray(np.maximum(wrong - right + 1, 0))


def poisson(y_true: Array, y_pred: Array) -> Array:
    """The mean of ``y_pred - y_true * log(y_pred)``."""
    return np.asarray(np.mean(y_pred - y_true * np.log(y_pred + EPSILON), axis=-1))


def kl_divergence(y_true: Array, y_pred: Array) -> Array:
    """The sum of ``y_true * log(y_true / y_pred)``."""
    true, predicted = [np.clip(y, EPSILON, np.float32(1)) for y in (y_true, y_pred)]
    return np.asarray(np.sum(true * np.log(true / predicted), axis=-1))


def cosine_similarity(y_true: Array, y_pred: Array) -> Array:
    """Minus the cosine of the angle between the two."""
    true, predicted = [
        y
        * np.float32(1)
        / np.sqrt(np.maximum(np.sum(np.square(y), axis=-1, keepdims=True), np.float32(1e-12)))
        for y in (y_true, y_pred)
    ]
    return np.asarray(-np.sum(true * predicted, axis=-1))


def binary_crossentropy(y_true: Array, y_pred: Array, from_logits: bool = False) -> Array:
    """The mean over the last axis of the cross-entropy of each number with its label."""
    if from_logits:
        values = np.maximum(y_pred, 0) - y_pred * y_true + np.log1p(np.exp(-np.abs(y_pred)))
        return np.asarray(np.mean(values, axis=-1))
    p = np.clip(y_pred, EPSILON, 1 - EPSILON)
    return np.asarray(-np.mean(y_true * np.log(p) + (1 - y_true) * np.log(1 - p), axis=-1))


def _log_probabilities(y_pred: Array, from_logits: bool) -> Array:
    if from_logits:
        shifted = y_pred - np.max(y_pred, axis=-1, keepdims=True)
        return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=-1, keepdims=True)))
    p = y_pred / np.sum(y_pred, axis=-1, keepdims=True)
    return np.asarray(np.log(np.clip(p, EPSILON, 1 - EPSILON)))


def categorical_crossentropy(y_true: Array, y_pred: Array, from_logits: bool = False) -> Array:
    """The cross-entropy of probabilities, or logits, with one-hot labels."""
    return np.asarray(-np.sum(y_true * _log_probabilities(y_pred, from_logits), axis=-1))


def sparse_categorical_crossentropy(y_true: Array, y_pred: Array, from_logits: bool = False) -> Array:
    """The cross-entropy of probabilities, or logits, with the numbers of classes ``(batch, ...)``."""
    if not from_logits:
        y_pred = np.log(np.clip(y_pred, EPSILON, 1 - EPSILON))
    labels = y_true[..., 0] if y_true.ndim == y_pred.ndim else y_true
    classes = labels.astype(np.int64)
    if classes.size and not (classes.min() >= 0 and classes.max() < y_pred.shape[-1]):
        raise ValueError(
            f"labels go from {classes.min()} to {classes.max()}, but the model has {y_pred.shape[-1]} classes"
        )
    found = np.take_along_axis(_log_probabilities(y_pred, from_logits=True), classes[..., None], axis=-1)
    return np.asarray(-found[..., 0])


LOSSES: dict[str, Loss] = {
    "mean_squared_error": mean_squared_error,
    "mean_absolute_error": mean_absolute_error,
    "mean_absolute_percentage_error": mean_absolute_percentage_error,
    "mean_squared_logarithmic_error": mean_squared_logarithmic_error,
    "huber": huber,
    "log_cosh": log_cosh,
    "hinge": hinge,
    "squared_hinge": squared_hinge,
    "categorical_hinge": categorical_hinge,
    "poisson": poisson,
    "kl_divergence": kl_divergence,
    "cosine_similarity": cosine_similarity,
    "binary_crossentropy": binary_crossentropy,
    "categorical_crossentropy": categorical_crossentropy,
    "sparse_categorical_crossentropy": sparse_categorical_crossentropy,
}
ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "mape": "mean_absolute_percentage_error",
    "msle": "mean_squared_logarithmic_error",
    "bce": "binary_crossentropy",
    "kld": "kl_divergence",
    "kullback_leibler_divergence": "kl_divergence",
    "logcosh": "log_cosh",
    "huber_loss": "huber",
}


def canonical(name: str) -> str:
    """Keras's name without aliases, capital letters and underscores aside: ``MeanSquaredError`` too."""
    plain = ALIASES.get(name.lower(), name).replace("_", "").lower()
    return next((known for known in LOSSES if known.replace("_", "") == plain), name)


def find_loss(loss: Any) -> Loss:
    """The loss of a name, or of Keras's serialised form, whose options are ``from_logits`` and ``delta``.

    Raises
    ------
    ValueError
        It is unknown; the message lists those that are known.
    """
    if callable(loss):
        function: Loss = loss
        return function
    options: dict[str, Any] = {}
    name = loss
    if isinstance(loss, Mapping):
        name, config = loss.get("class_name"), dict(loss.get("config") or {})
        options = {key: config[key] for key in ("from_logits", "delta") if config.get(key)}
        if name == "LossFunctionWrapper" or config.get("label_smoothing"):
            name = None
    if not isinstance(name, str) or canonical(name) not in LOSSES:
        raise ValueError(
            f"loss {loss!r}: expected a function of (y_true, y_pred), or one of {', '.join(LOSSES)}"
        )
    found = LOSSES[canonical(name)]
    return partial(found, **options) if options else found
