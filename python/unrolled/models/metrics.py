# SPDX-License-Identifier: MIT
"""Keras's metrics over all samples: keras 3.15 ``metrics/``, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.models.losses import LOSSES, Loss, canonical, cosine_similarity

Array = NDArray[Any]

# How many thresholds AUC has, as in Keras.
AUC_THRESHOLDS = 200
TOP_K = 5


def binary_accuracy(y_true: Array, y_pred: Array) -> Array:
    """Which part of the last axis is on the right side of 0.5."""
    return np.asarray(np.mean(y_true == (y_pred > np.float32(0.5)), axis=-1, dtype=np.float32))


def categorical_accuracy(y_true: Array, y_pred: Array) -> Array:
    """Whether the largest number is that of the label's class."""
    return np.asarray(np.argmax(y_true, axis=-1) == np.argmax(y_pred, axis=-1), np.float32)


def _classes(y_true: Array, y_pred: Array) -> Array:
    return y_true[..., 0] if y_true.ndim == y_pred.ndim else y_true


def sparse_categorical_accuracy(y_true: Array, y_pred: Array) -> Array:
    """Whether the largest number is at the label."""
    return np.asarray(_classes(y_true, y_pred) == np.argmax(y_pred, axis=-1), np.float32)


def sparse_top_k_categorical_accuracy(y_true: Array, y_pred: Array) -> Array:
    """Whether fewer than five numbers are larger than that at the label."""
    labels = _classes(y_true, y_pred).astype(np.int64)[..., None]
    larger = np.sum(y_pred > np.take_along_axis(y_pred, labels, axis=-1), axis=-1)
    return np.asarray(larger < TOP_K, np.float32)


def top_k_categorical_accuracy(y_true: Array, y_pred: Array) -> Array:
    """As ``sparse_top_k_categorical_accuracy``, with one-hot labels."""
    return sparse_top_k_categorical_accuracy(np.argmax(y_true, axis=-1), y_pred)


MEANS: dict[str, Loss] = {
    **LOSSES,
    "cosine_similarity": lambda y_true, y_pred: -cosine_similarity(y_true, y_pred),
    "binary_accuracy": binary_accuracy,
    "categorical_accuracy": categorical_accuracy,
    "sparse_categorical_accuracy": sparse_categorical_accuracy,
    "top_k_categorical_accuracy": top_k_categorical_accuracy,
    "sparse_top_k_categorical_accuracy": sparse_top_k_categorical_accuracy,
}
WHOLE = ("accuracy", "acc", "root_mean_squared_error", "rmse", "precision", "recall", "auc")
# Labels are numbers of classes there, one fewer axis than the predictions.
SPARSE = (
    "sparse_categorical_crossentropy",
    "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy",
)


def known_name(metric: str) -> str:
    """Keras's name of a metric without aliases.

    Raises
    ------
    ValueError
        It is unknown; the message lists those that are known.
    """
    plain = metric.replace("_", "").lower()
    for name in (*MEANS, *WHOLE):
        if name.replace("_", "") == plain:
            return {"acc": "accuracy", "rmse": "root_mean_squared_error"}.get(name, name)
    if canonical(metric) in MEANS:
        return canonical(metric)
    raise ValueError(f"metric {metric!r}: expected a function, or one of {', '.join((*MEANS, *WHOLE))}")


def accuracy_of(y_true: Array, y_pred: Array) -> str:
    """Which accuracy Keras means: binary, categorical or sparse (``trainers/compile_utils.py``)."""
    if y_pred.shape[-1] == 1:
        return "binary_accuracy"
    if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
        return "sparse_categorical_accuracy"
    return "categorical_accuracy"


def _divide(a: float, b: float) -> float:
    return a / b if b else 0.0


def precision(y_true: Array, y_pred: Array, weights: Array) -> float:
    """Which part of what is above 0.5 is labelled so."""
    positive = y_pred > np.float32(0.5)
    return _divide(float(np.sum(weights * (positive & (y_true > 0)))), float(np.sum(weights * positive)))


def recall(y_true: Array, y_pred: Array, weights: Array) -> float:
    """Which part of what is labelled so is above 0.5."""
    positive = y_true > 0
    return _divide(
        float(np.sum(weights * (positive & (y_pred > np.float32(0.5))))), float(np.sum(weights * positive))
    )


def auc(y_true: Array, y_pred: Array, weights: Array) -> float:
    """The area under the receiver operating characteristic, by trapezoids over 200 thresholds."""
    inner = [np.float32(i / (AUC_THRESHOLDS - 1)) for i in range(1, AUC_THRESHOLDS - 1)]
    thresholds = np.array([-1e-7, *inner, 1 + 1e-7], np.float32)
    above = y_pred.reshape(1, -1) > thresholds[:, None]
    positive, weight = (y_true > 0).reshape(1, -1), weights.reshape(1, -1)
    rates = []
    for chosen in (positive, ~positive):
        total = float(np.sum(weight * chosen))
        rates.append(
            np.sum(weight * (above & chosen), axis=1) / total if total else np.zeros(len(thresholds))
        )
    true_rate, false_rate = rates
    return float(np.sum((false_rate[:-1] - false_rate[1:]) * (true_rate[:-1] + true_rate[1:]) / 2))
