# SPDX-License-Identifier: MIT
"""``keras.ops``: the operations that graphs may hold, with Keras's names and signatures.

On symbolic tensors they become part of the model; on arrays they compute at once, in float32, int32 or bool,
by the same kernels. In a graph the batch axis stays first and is never reduced, joined or indexed.

>>> import numpy as np
>>> from unrolled import Input, Model, ops
>>> ops.mean([[1.0, 2.0], [3.0, 5.0]], axis=1).tolist()
[1.5, 4.0]
>>> x = Input((7, 3))
>>> y = ops.concatenate([ops.max(x, axis=1), ops.sum(x, axis=1)], axis=-1)
>>> Model(x, y).predict(np.ones((2, 7, 3))).tolist()
[[1.0, 1.0, 1.0, 7.0, 7.0, 7.0], [1.0, 1.0, 1.0, 7.0, 7.0, 7.0]]
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.layers.calls import as_input
from unrolled.layers.registry import operation_classes
from unrolled.layers.symbolic import KerasTensor

__all__ = [
    "abs",
    "absolute",
    "add",
    "all",
    "amax",
    "amin",
    "any",
    "cast",
    "celu",
    "clip",
    "concatenate",
    "convert_to_tensor",
    "divide",
    "elu",
    "equal",
    "exp",
    "expand_dims",
    "flip",
    "gelu",
    "get_item",
    "glu",
    "greater",
    "greater_equal",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "less",
    "less_equal",
    "log_sigmoid",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "multiply",
    "negative",
    "not_equal",
    "ones_like",
    "power",
    "relu",
    "relu6",
    "repeat",
    "reshape",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "square",
    "squareplus",
    "squeeze",
    "stack",
    "stop_gradient",
    "subtract",
    "sum",
    "swapaxes",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
    "tile",
    "transpose",
    "true_divide",
    "where",
    "zeros_like",
]


# ------------------------------------------------------------------ how they are called


def _call(name: str, *args: Any, **options: Any) -> Any:
    """The operation of Keras's class ``name`` on tensors that all keep their axes, of which some broadcast."""
    if _is_symbolic(args):
        return operation_classes()[name](**options)(*args)
    arrays = [as_input(value) for value in args]
    rank = builtins.max(array.ndim for array in arrays)
    rows = [array.reshape((1,) * (1 + rank - array.ndim) + array.shape) for array in arrays]
    return _run(name, *rows, **options)


def _run(name: str, *args: Any, **options: Any) -> NDArray[Any]:
    """An operation on arrays as on a batch of one, so that every axis of theirs is free to be worked along."""
    operation = operation_classes()[name](name=name.lower(), **options)  # no automatic name is used up
    result: NDArray[Any] = operation(*args)[0]
    return result


def _is_symbolic(value: Any) -> bool:
    return builtins.any(isinstance(leaf, KerasTensor) for leaf in tree.leaves(value))


def _shifted(axis: Any, rank: int) -> Any:
    """Axes of an array as axes of a batch of one."""
    if isinstance(axis, list | tuple):
        return [_shifted(item, rank) for item in axis]
    if not isinstance(axis, int | np.integer) or isinstance(axis, bool) or not -rank <= axis < rank:
        raise ValueError(f"axis {axis!r} does not exist in an array of rank {rank}")
    return int(axis) % rank + 1


def _along(name: str, x: Any, axis: Any, **options: Any) -> Any:
    """An operation along axes; all axes where ``axis`` is None."""
    if _is_symbolic(x):
        return operation_classes()[name](axis=axis, **options)(x)
    array = as_input(x)
    axes = range(array.ndim) if axis is None else axis
    return _run(name, array[None], axis=_shifted(list(axes) if axis is None else axes, array.ndim), **options)


def _reduced(name: str, x: Any, axis: Any, keepdims: bool, **options: Any) -> Any:
    if not _is_symbolic(x) and np.ndim(x) == 0:
        return _along(name, np.reshape(x, (1,)), 0, keepdims=False, **options)
    return _along(name, x, axis, keepdims=keepdims, **options)


def _joined(name: str, items: Sequence[Any], axis: int, added: int) -> Any:
    if _is_symbolic(items):
        return operation_classes()[name](axis=axis)(list(items))
    arrays = [as_input(item) for item in items]
    if not arrays:
        raise ValueError(f"{name.lower()}: expected at least one array")
    return _run(name, [array[None] for array in arrays], axis=_shifted(axis, arrays[0].ndim + added))


# ------------------------------------------------------------------------ two arguments


def add(x1: Any, x2: Any) -> Any:
    """``x1 + x2``, broadcast."""
    return _call("Add", x1, x2)


def subtract(x1: Any, x2: Any) -> Any:
    """``x1 - x2``, broadcast."""
    return _call("Subtract", x1, x2)


def multiply(x1: Any, x2: Any) -> Any:
    """``x1 * x2``, broadcast."""
    return _call("Multiply", x1, x2)


def divide(x1: Any, x2: Any) -> Any:
    """``x1 / x2`` in float32, broadcast."""
    return _call("Divide", x1, x2)


def true_divide(x1: Any, x2: Any) -> Any:
    """``x1 / x2`` in float32, broadcast."""
    return _call("TrueDivide", x1, x2)


def maximum(x1: Any, x2: Any) -> Any:
    """The larger of ``x1`` and ``x2``, broadcast."""
    return _call("Maximum", x1, x2)


def minimum(x1: Any, x2: Any) -> Any:
    """The smaller of ``x1`` and ``x2``, broadcast."""
    return _call("Minimum", x1, x2)


def equal(x1: Any, x2: Any) -> Any:
    """Where ``x1 == x2``, as bool."""
    return _call("Equal", x1, x2)


def not_equal(x1: Any, x2: Any) -> Any:
    """Where ``x1 != x2``, as bool."""
    return _call("NotEqual", x1, x2)


def greater(x1: Any, x2: Any) -> Any:
    """Where ``x1 > x2``, as bool."""
    return _call("Greater", x1, x2)


def greater_equal(x1: Any, x2: Any) -> Any:
    """Where ``x1 >= x2``, as bool."""
    return _call("GreaterEqual", x1, x2)


def less(x1: Any, x2: Any) -> Any:
    """Where ``x1 < x2``, as bool."""
    return _call("Less", x1, x2)


def less_equal(x1: Any, x2: Any) -> Any:
    """Where ``x1 <= x2``, as bool."""
    return _call("LessEqual", x1, x2)


def logical_and(x1: Any, x2: Any) -> Any:
    """Where both are not 0, as bool."""
    return _call("LogicalAnd", x1, x2)


def logical_or(x1: Any, x2: Any) -> Any:
    """Where one is not 0, as bool."""
    return _call("LogicalOr", x1, x2)


def power(x1: Any, x2: Any) -> Any:
    """``x1`` to a whole exponent ``x2`` from 1 to 8, by products."""
    if _is_symbolic([x1, x2]):
        return _call("Power", x1, x2)
    operation = operation_classes()["Power"](name="power")
    return operation(as_input(x1)[None], x2)[0]


def matmul(x1: Any, x2: Any) -> Any:
    """The matrix product of the last two axes, in float32; the leading axes are the same.

    In a graph ``x2`` may be a constant of rank 2.
    """
    return _call("Matmul", x1, x2)


def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """``x1`` where ``condition`` is not 0, else ``x2``, broadcast.

    Raises
    ------
    ValueError
        ``x1`` or ``x2`` is missing: how many indices there are would depend on the values.
    """
    if x1 is None or x2 is None:
        raise ValueError("where: expected x1 and x2; for the indices of what is not 0 use numpy.nonzero")
    return _call("Where", condition, x1, x2)


# ------------------------------------------------------------------------- single elements


def abs(x: Any) -> Any:
    """The absolute value."""
    return _call("Abs", x)


def absolute(x: Any) -> Any:
    """The absolute value."""
    return _call("Absolute", x)


def exp(x: Any) -> Any:
    """e to the power of x."""
    return _call("Exp", x)


def hard_sigmoid(x: Any) -> Any:
    """``clip(x / 6 + 0.5, 0, 1)``, as in Keras 3."""
    return _call("HardSigmoid", x)


def hard_silu(x: Any) -> Any:
    """``x * hard_sigmoid(x)``."""
    return _call("HardSilu", x)


def hard_tanh(x: Any) -> Any:
    """``clip(x, -1, 1)``."""
    return _call("HardTanh", x)


def log_sigmoid(x: Any) -> Any:
    """``log(sigmoid(x))``."""
    return _call("LogSigmoid", x)


def logical_not(x: Any) -> Any:
    """Where x is 0, as bool."""
    return _call("LogicalNot", x)


def negative(x: Any) -> Any:
    """``-x``."""
    return _call("Negative", x)


def relu(x: Any) -> Any:
    """``max(x, 0)``."""
    return _call("Relu", x)


def relu6(x: Any) -> Any:
    """``clip(x, 0, 6)``."""
    return _call("Relu6", x)


def selu(x: Any) -> Any:
    """The scaled exponential linear unit."""
    return _call("Selu", x)


def sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))``."""
    return _call("Sigmoid", x)


def silu(x: Any) -> Any:
    """``x * sigmoid(x)``."""
    return _call("Silu", x)


def softplus(x: Any) -> Any:
    """``log(1 + exp(x))``."""
    return _call("Softplus", x)


def softsign(x: Any) -> Any:
    """``x / (1 + abs(x))``."""
    return _call("Softsign", x)


def sparse_plus(x: Any) -> Any:
    """0 up to -1, x from 1 on, ``(x + 1)**2 / 4`` in between."""
    return _call("SparsePlus", x)


def sparse_sigmoid(x: Any) -> Any:
    """``clip((x + 1) / 2, 0, 1)``."""
    return _call("SparseSigmoid", x)


def square(x: Any) -> Any:
    """``x * x``."""
    return _call("Square", x)


def swish(x: Any) -> Any:
    """``x * sigmoid(x)``."""
    return _call("Silu", x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return _call("Tanh", x)


def tanh_shrink(x: Any) -> Any:
    """``x - tanh(x)``."""
    return _call("TanhShrink", x)


def stop_gradient(variable: Any) -> Any:
    """``variable`` itself: nothing here has gradients."""
    return _call("StopGradient", variable)


def celu(x: Any, alpha: float = 1.0) -> Any:
    """The continuously differentiable exponential linear unit."""
    return _call("Celu", x, alpha=alpha)


def clip(x: Any, x_min: float, x_max: float) -> Any:
    """``min(max(x, x_min), x_max)``."""
    return _call("Clip", x, x_min=x_min, x_max=x_max)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x above 0, ``alpha * (exp(x) - 1)`` below."""
    return _call("Elu", x, alpha=alpha)


def gelu(x: Any, approximate: bool = True) -> Any:
    """The Gaussian error linear unit, by its tanh approximation unless told otherwise."""
    return _call("Gelu", x, approximate=approximate)


def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x where it is farther from 0 than ``threshold``, else 0."""
    return _call("HardShrink", x, threshold=threshold)


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x above 0, ``negative_slope * x`` below."""
    return _call("LeakyRelu", x, negative_slope=negative_slope)


def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x moved towards 0 by ``threshold``."""
    return _call("SoftShrink", x, threshold=threshold)


def squareplus(x: Any, b: float = 4) -> Any:
    """``(x + sqrt(x**2 + b)) / 2``."""
    return _call("Squareplus", x, b=b)


def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """x where it is above ``threshold``, else ``default_value``."""
    return _call("Threshold", x, threshold=threshold, default_value=default_value)


def cast(x: Any, dtype: Any) -> Any:
    """x in another dtype: floats are float32, integers int32."""
    return _call("Cast", x, dtype=dtype)


def convert_to_tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Any:
    """x as an array, or the symbolic tensor; dense whatever ``sparse`` and ``ragged`` say."""
    return _call("ConvertToTensor", x, dtype=dtype)


def ones_like(x: Any, dtype: Any = None) -> Any:
    """Ones of the shape of x."""
    return _call("OnesLike", x, dtype=dtype)


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Zeros of the shape of x."""
    return _call("ZerosLike", x, dtype=dtype)


# ------------------------------------------------------------------------------ along axes


def softmax(x: Any, axis: int = -1) -> Any:
    """``exp(x)`` divided by its sum along ``axis``."""
    return _along("Softmax", x, axis)


def log_softmax(x: Any, axis: int = -1) -> Any:
    """``log(softmax(x))`` along ``axis``."""
    return _along("LogSoftmax", x, axis)


def sparsemax(x: Any, axis: int = -1) -> Any:
    """The projection onto the simplex along ``axis``."""
    return _along("Sparsemax", x, axis)


def glu(x: Any, axis: int = -1) -> Any:
    """The first half along ``axis`` times the sigmoid of the second."""
    return _along("Glu", x, axis)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether all are not 0."""
    return _reduced("All", x, axis, keepdims)


def amax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest."""
    return _reduced("Amax", x, axis, keepdims)


def amin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest."""
    return _reduced("Amin", x, axis, keepdims)


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether one is not 0."""
    return _reduced("Any", x, axis, keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean, in float32."""
    return _reduced("Mean", x, axis, keepdims)


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum."""
    return _reduced("Sum", x, axis, keepdims)


def max(x: Any, axis: Any = None, keepdims: bool = False, initial: float | None = None) -> Any:
    """The largest, at least ``initial``."""
    return _reduced("Max", x, axis, keepdims, initial=initial)


def min(x: Any, axis: Any = None, keepdims: bool = False, initial: float | None = None) -> Any:
    """The smallest, at most ``initial``."""
    return _reduced("Min", x, axis, keepdims, initial=initial)


def flip(x: Any, axis: Any = None) -> Any:
    """x with the order along ``axis`` turned round."""
    return _along("Flip", x, axis)


def expand_dims(x: Any, axis: Any) -> Any:
    """x with an axis of size 1 added at ``axis``."""
    if _is_symbolic(x):
        return operation_classes()["ExpandDims"](axis=axis)(x)
    array = as_input(x)
    return _run("ExpandDims", array[None], axis=_shifted(axis, array.ndim + 1))


def squeeze(x: Any, axis: Any = None) -> Any:
    """x without axes of size 1: all, or those named."""
    if _is_symbolic(x) or axis is not None:
        return _along("Squeeze", x, axis)
    return _run("Squeeze", as_input(x)[None])


def concatenate(xs: Sequence[Any], axis: int = 0) -> Any:
    """Tensors joined along an axis that they have; in a graph name one other than the batch axis."""
    return _joined("Concatenate", xs, axis, 0)


def stack(x: Sequence[Any], axis: int = 0) -> Any:
    """Tensors joined along a new axis; in a graph name one after the batch axis."""
    return _joined("Stack", x, axis, 1)


def repeat(x: Any, repeats: int, axis: int | None = None) -> Any:
    """Every element ``repeats`` times along ``axis``; of all elements in a row without one."""
    if not _is_symbolic(x) and axis is None:
        x, axis = np.ravel(x), 0
    return _along("Repeat", x, axis, repeats=repeats)


def reshape(x: Any, newshape: Any) -> Any:
    """x in another shape, of which one size may be -1; in a graph the batch axis stays first."""
    if _is_symbolic(x):
        return operation_classes()["Reshape"](newshape=newshape)(x)
    sizes = tuple(newshape) if isinstance(newshape, list | tuple) else (newshape,)
    return _run("Reshape", as_input(x)[None], newshape=(None, *sizes)) if sizes else as_input(x).reshape(())


def transpose(x: Any, axes: Any = None) -> Any:
    """x with its axes in another order, the opposite one where absent; in a graph the batch axis is first."""
    if _is_symbolic(x):
        return operation_classes()["Transpose"](axes=axes)(x)
    array = as_input(x)
    order = range(array.ndim)[::-1] if axes is None else axes
    return _run("Transpose", array[None], axes=[0, *_shifted(list(order), array.ndim)])


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """x with two axes swapped."""
    if _is_symbolic(x):
        return operation_classes()["Swapaxes"](axis1=axis1, axis2=axis2)(x)
    array = as_input(x)
    first, second = _shifted([axis1, axis2], array.ndim)
    return _run("Swapaxes", array[None], axis1=first, axis2=second)


def tile(x: Any, repeats: Any) -> Any:
    """x joined with itself so often along each of the last axes."""
    if _is_symbolic(x):
        return operation_classes()["Tile"](repeats=repeats)(x)
    array = as_input(x)
    counts = list(repeats) if isinstance(repeats, list | tuple) else [repeats]
    array = array.reshape((1,) * builtins.max(0, len(counts) - array.ndim) + array.shape)
    return _run("Tile", array[None], repeats=counts)


def get_item(x: Any, key: Any) -> Any:
    """``x[key]`` with integers, slices, ``...`` and ``None``; in a graph the whole batch stays."""
    if _is_symbolic(x):
        return operation_classes()["GetItem"]()(x, key)
    items = key if isinstance(key, tuple) else (key,)
    return _run("GetItem", as_input(x)[None], (slice(None), *items))
