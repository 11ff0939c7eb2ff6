# SPDX-License-Identifier: MIT
"""``Model.evaluate``: predictions compared with labels by Keras's losses and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.models import metrics as all_metrics
from unrolled.models.inputs import as_numbers
from unrolled.models.losses import find_loss

if TYPE_CHECKING:
    from unrolled.models.base import BaseModel

Array = NDArray[Any]
# Rows of a batch where the user does not say, as in Keras: with masks it decides how rows are weighed.
KERAS_BATCH = 32


def evaluate(
    model: BaseModel,
    x: Any,
    y: Any,
    batch_size: int | None = None,
    verbose: str | int = "auto",
    sample_weight: Any = None,
    *,
    loss: Any = None,
    metrics: Sequence[Any] | str | Callable[..., Any] | None = None,
) -> dict[str, float]:
    """See ``Model.evaluate``; always a dict."""
    if isinstance(loss, list | tuple) or (isinstance(loss, Mapping) and "class_name" not in loss):
        raise ValueError("evaluate: expected one loss; models with several outputs are evaluated one by one")
    if loss is None and not metrics:
        raise ValueError(
            'evaluate: say what to compute: loss="mse", metrics=["accuracy"]; a file keeps neither'
        )
    compare = None if loss is None else find_loss(loss)
    listed = [metrics] if isinstance(metrics, str) or callable(metrics) else list(metrics or ())
    names = [m if isinstance(m, str) else getattr(m, "__name__", type(m).__name__) for m in listed]
    for metric in listed:
        if isinstance(metric, str):
            all_metrics.known_name(metric)
        elif not callable(metric):
            raise ValueError(f"evaluate: expected metrics as names or functions, got {metric!r}")
    y_pred = model.predict(x, batch_size, verbose)
    if not isinstance(y_pred, np.ndarray):
        raise ValueError(
            f"evaluate: model {model.name!r} has several outputs; evaluate Model(model.input, output) of each"
        )
    y_true = _labels(y, y_pred)
    weights = None if sample_weight is None else as_numbers(sample_weight, "sample_weight: expected numbers")
    if weights is not None and weights.shape[:1] != y_pred.shape[:1]:
        raise ValueError(f"sample_weight: expected {y_pred.shape[0]} rows, got shape {weights.shape}")
    mask = _mask_of(model, x, y_pred)
    result: dict[str, float] = {}
    if compare is not None:
        values = compare(y_true, y_pred)
        result["loss"] = _by_batches(values, weights, mask, batch_size or KERAS_BATCH)
    for metric, name in zip(listed, names, strict=True):
        result[name] = _metric(metric, y_true, y_pred, mask)
    return result


def _labels(y: Any, y_pred: Array) -> Array:
    """``y`` as float32, an axis of size 1 added or taken where Keras does it."""
    y_true = as_numbers(y, f"y: expected numbers for outputs of shape {y_pred.shape}").astype(np.float32)
    if y_true.shape[:1] != y_pred.shape[:1]:
        raise ValueError(f"y: expected {y_pred.shape[0]} rows, got shape {y_true.shape}")
    if y_true.ndim + 1 == y_pred.ndim and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    is_classes = y_true.ndim + 1 == y_pred.ndim or (y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1)
    shapes_fit = y_true.shape == y_pred.shape or (
        is_classes and y_true.shape[1:][: y_pred.ndim - 2] == y_pred.shape[1:-1]
    )
    if not shapes_fit:
        raise ValueError(f"y: expected shape {y_pred.shape}, or that of classes, got {y_true.shape}")
    return y_true


def _mask_of(model: BaseModel, x: Any, y_pred: Array) -> Array | None:
    """The mask that the model leaves on its output, by which Keras leaves out timesteps."""
    if not len(y_pred):
        return None
    first = tree.map_leaves(lambda leaf: np.asarray(leaf)[:1], x) if isinstance(x, list | dict) else x[:1]
    if model.compute_mask(first) is None:
        return None
    mask: Array = np.asarray(model.compute_mask(x), np.float32)
    return mask


def _broadcast(weights: Array, shape: tuple[int, ...]) -> Array:
    """Weights, or a mask, for values of ``shape``."""
    if weights.ndim == len(shape) + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    if weights.shape != shape[: weights.ndim]:
        raise ValueError(f"expected a weight for each sample, {shape}, got shape {weights.shape}")
    return np.broadcast_to(weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim)), shape)


def _by_batches(values: Array, weights: Array | None, mask: Array | None, batch_size: int) -> float:
    """The mean over batches, each counted by its rows, as Keras takes it."""
    total = rows = 0.0
    for start in range(0, len(values), batch_size):
        part = values[start : start + batch_size]
        factor = np.ones(part.shape, np.float32)
        if mask is not None:
            valid = _broadcast(mask[start : start + batch_size], part.shape)
            factor = valid * np.float32(valid.size / (np.sum(valid) + 1e-7))
        if weights is not None:
            factor = factor * _broadcast(weights[start : start + batch_size], part.shape)
        total += float(np.sum(part * factor, dtype=np.float64)) / max(part.size, 1) * len(part)
        rows += len(part)
    return total / rows if rows else 0.0


def _metric(metric: Any, y_true: Array, y_pred: Array, mask: Array | None) -> float:
    name = all_metrics.known_name(metric) if isinstance(metric, str) else None
    if name == "accuracy":
        name = all_metrics.accuracy_of(y_true, y_pred)
    if name in ("precision", "recall", "auc"):
        if y_true.shape != y_pred.shape:
            raise ValueError(f"metric {name}: expected y of shape {y_pred.shape}, got {y_true.shape}")
        weights = np.ones(y_pred.shape, np.float32) if mask is None else _broadcast(mask, y_pred.shape)
        return float(getattr(all_metrics, name)(y_true, y_pred, weights))
    is_root = name == "root_mean_squared_error"
    function = metric if name is None else all_metrics.MEANS["mean_squared_error" if is_root else name]
    values = np.asarray(function(y_true, y_pred))
    factor = np.ones(values.shape, np.float32) if mask is None else _broadcast(mask, values.shape)
    total = float(np.sum(factor, dtype=np.float64))
    mean = float(np.sum(values * factor, dtype=np.float64)) / total if total else 0.0
    return mean**0.5 if is_root else mean
