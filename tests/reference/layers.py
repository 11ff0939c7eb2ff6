# SPDX-License-Identifier: MIT
"""All layers but the recurrent ones in float64; sequences are [batch, timesteps, channels].

Source: keras 3.15 ``layers/``; where Keras 2 differs, it is said.
"""

from __future__ import annotations

import numpy as np


def dense(x, kernel, bias=None):
    y = x @ kernel
    return y if bias is None else y + bias


def embedding(ids, table):
    return table[np.asarray(ids).astype(np.int32)]


def embedding_mask(ids):
    return np.asarray(ids) != 0


def masking(x, mask_value=0.0):
    """The masked input and the mask: a timestep is valid when any feature differs from the value.

    Keras compares in float32, where an input is equal to 0.1 that would not be in float64.
    """
    mask = np.any(np.float32(x) != np.float32(mask_value), axis=-1)
    return x * mask[..., None], mask


def batch_normalization(x, gamma, beta, mean, variance, epsilon=1e-3, axis=-1):
    """``gamma`` and ``beta`` may be None (scale=False, center=False)."""
    shape = [1] * x.ndim
    shape[axis] = -1
    y = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + epsilon)
    if gamma is not None:
        y = y * gamma.reshape(shape)
    if beta is not None:
        y = y + beta.reshape(shape)
    return y


def layer_normalization(x, gamma, beta, epsilon=1e-3, axis=-1):
    """Biased variance over ``axis`` (an int or a list of them); ``gamma`` and ``beta`` may be None."""
    axes = tuple(sorted(a % x.ndim for a in np.atleast_1d(axis)))
    mean = x.mean(axis=axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=axes, keepdims=True)
    shape = [x.shape[a] if a in axes else 1 for a in range(x.ndim)]
    y = (x - mean) / np.sqrt(variance + epsilon)
    if gamma is not None:
        y = y * gamma.reshape(shape)
    if beta is not None:
        y = y + beta.reshape(shape)
    return y


def _padding(timesteps, size, stride, padding, dilation=1):
    """Cells added before and after, and the number of windows."""
    reach = (size - 1) * dilation + 1
    if padding == "causal":
        before, after = reach - 1, 0
    elif padding == "same":
        windows = -(-timesteps // stride)
        total = max((windows - 1) * stride + reach - timesteps, 0)
        before, after = total // 2, total - total // 2
    else:
        before = after = 0
    return before, after, (timesteps + before + after - reach) // stride + 1


def conv1d(x, kernel, bias=None, *, strides=1, padding="valid", dilation_rate=1, groups=1):
    """Cross-correlation; kernel [size, channels / groups, filters]."""
    size, group_channels, filters = kernel.shape
    group_filters = filters // groups
    before, after, windows = _padding(x.shape[1], size, strides, padding, dilation_rate)
    x = np.pad(x, [(0, 0), (before, after), (0, 0)])
    y = np.zeros((x.shape[0], windows, filters))
    for t in range(windows):
        for k in range(size):
            x_t = x[:, t * strides + k * dilation_rate]
            for g in range(groups):
                inputs = slice(g * group_channels, (g + 1) * group_channels)
                outputs = slice(g * group_filters, (g + 1) * group_filters)
                y[:, t, outputs] += x_t[:, inputs] @ kernel[k, :, outputs]
    return y if bias is None else y + bias


def _pool1d(reduce, x, pool_size, strides, padding):
    strides = pool_size if strides is None else strides
    before, _, windows = _padding(x.shape[1], pool_size, strides, padding)
    result = []
    for t in range(windows):
        start = t * strides - before
        # Cells outside of the sequence take no part.
        window = x[:, max(start, 0) : start + pool_size]
        result.append(reduce(window, axis=1))
    return np.stack(result, axis=1)


def max_pooling1d(x, pool_size=2, strides=None, padding="valid"):
    return _pool1d(np.max, x, pool_size, strides, padding)


def average_pooling1d(x, pool_size=2, strides=None, padding="valid"):
    return _pool1d(np.mean, x, pool_size, strides, padding)


def global_max_pooling1d(x, keepdims=False):
    """Ignores masks, as Keras does."""
    return x.max(axis=1, keepdims=keepdims)


def global_average_pooling1d(x, mask=None, keepdims=False):
    """The mean of valid timesteps; NaN where there is none."""
    if mask is None:
        return x.mean(axis=1, keepdims=keepdims)
    weights = mask[..., None].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return (x * weights).sum(axis=1, keepdims=keepdims) / weights.sum(axis=1, keepdims=keepdims)


def flatten(x):
    return x.reshape(x.shape[0], -1)


def reshape(x, target_shape):
    return x.reshape(x.shape[0], *target_shape)


def permute(x, dims):
    return np.transpose(x, (0, *dims))


def repeat_vector(x, n):
    return np.repeat(x[:, None], n, axis=1)


def _pair(value):
    return (value, value) if np.ndim(value) == 0 else tuple(value)


def cropping1d(x, cropping=(1, 1)):
    before, after = _pair(cropping)
    return x[:, before : x.shape[1] - after]


def zero_padding1d(x, padding=1):
    return np.pad(x, [(0, 0), _pair(padding), (0, 0)])


def up_sampling1d(x, size=2):
    return np.repeat(x, size, axis=1)


def rescaling(x, scale, offset=0.0):
    return x * np.asarray(scale, np.float64) + np.asarray(offset, np.float64)


def normalization(x, mean, variance, *, axis=-1, invert=False):
    """``mean`` and ``variance`` with one number a cell of ``axis``; ``axis`` None: one for all."""
    if axis is not None:
        axes = [a % x.ndim for a in np.atleast_1d(axis)]
        shape = [x.shape[a] if a in axes else 1 for a in range(x.ndim)]
        mean, variance = np.broadcast_to(mean, np.size(mean)), np.broadcast_to(variance, np.size(variance))
        mean = mean.reshape(shape) if mean.size > 1 else mean.reshape([1] * x.ndim)
        variance = variance.reshape(shape) if variance.size > 1 else variance.reshape([1] * x.ndim)
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    return x * deviation + mean if invert else (x - mean) / deviation


def prelu(x, alpha):
    return np.maximum(x, 0) + alpha * np.minimum(x, 0)
