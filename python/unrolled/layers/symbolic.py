# SPDX-License-Identifier: MIT
"""Symbolic tensors and the calls of layers on them, of which functional models are made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.engine.lowering import Shape
from unrolled.errors import printable

if TYPE_CHECKING:
    from unrolled.layers.base import Layer


class Node:
    """One symbolic call of a layer: what went in, what came out."""

    def __init__(self, layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.layer = layer
        self.args = args
        self.kwargs = kwargs
        self.outputs: Any = None
        # The tensors that the call takes, in order.
        self.parents = [leaf for leaf in tree.leaves([args, kwargs]) if isinstance(leaf, KerasTensor)]

    @classmethod
    def restored(cls, layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any) -> Node:
        """A call out of a pickle, of which the tensors in ``outputs`` come: again a call of ``layer``."""
        node = cls(layer, args, kwargs)
        node.outputs = outputs
        for tensor in tree.leaves(outputs):
            tensor.node = node
        layer.nodes.append(node)
        return node


class KerasTensor:
    """A symbolic tensor: what ``Input`` returns and layers called on it give.

    Parameters
    ----------
    shape : tuple
        ``(batch, ...)``, ``None`` where unknown.
    dtype : str
        "float32", "int32" or "bool".

    Notes
    -----
    Operators are operations of the graph, as in Keras: ``x + 1``, ``1 / x``, ``x ** 2``, ``-x``, ``x @ y``,
    ``x > 0`` and ``x[:, -1]``. ``==`` tells whether two names mean the same tensor: ``unrolled.ops.equal``
    compares values.

    Examples
    --------
    >>> import numpy as np, unrolled
    >>> x = unrolled.Input((7, 3))
    >>> unrolled.Model(x, 1 - x[:, -1] ** 2).predict(np.full((2, 7, 3), 0.5)).tolist()[0]
    [0.75, 0.75, 0.75]
    """

    # NumPy leaves ``array + tensor`` to the tensor.
    __array_ufunc__ = None

    def __init__(
        self,
        shape: Shape,
        dtype: str = "float32",
        *,
        node: Node | None = None,
        index: int = 0,
        name: str = "",
    ) -> None:
        self.shape = tuple(shape)
        self.dtype = dtype
        self.node = node
        self.index = index
        self.name = name

    @property
    def ndim(self) -> int:
        """How many axes there are, the batch's among them."""
        return len(self.shape)

    def detached(self) -> KerasTensor:
        """The same without the call that gives it."""
        return KerasTensor(self.shape, self.dtype, index=self.index, name=self.name)

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={printable(self.name)}>"

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise TypeError("a symbolic tensor has no values: build a Model from it and call predict")

    def __bool__(self) -> bool:
        raise TypeError("a symbolic tensor has no values to decide by: use unrolled.ops.where")

    def __iter__(self) -> Iterator[KerasTensor]:
        raise TypeError("a symbolic tensor cannot be iterated over: index it, x[:, 0]")

    # --------------------------------------------------------------- operators

    def __add__(self, other: Any) -> KerasTensor:
        return _call("Add", self, other)

    def __radd__(self, other: Any) -> KerasTensor:
        return _call("Add", other, self)

    def __sub__(self, other: Any) -> KerasTensor:
        return _call("Subtract", self, other)

    def __rsub__(self, other: Any) -> KerasTensor:
        return _call("Subtract", other, self)

    def __mul__(self, other: Any) -> KerasTensor:
        return _call("Multiply", self, other)

    def __rmul__(self, other: Any) -> KerasTensor:
        return _call("Multiply", other, self)

    def __truediv__(self, other: Any) -> KerasTensor:
        return _call("Divide", self, other)

    def __rtruediv__(self, other: Any) -> KerasTensor:
        return _call("Divide", other, self)

    def __matmul__(self, other: Any) -> KerasTensor:
        return _call("Matmul", self, other)

    def __rmatmul__(self, other: Any) -> KerasTensor:
        return _call("Matmul", other, self)

    def __pow__(self, other: Any) -> KerasTensor:
        return _call("Power", self, other)

    def __rpow__(self, other: Any) -> KerasTensor:
        return _call("Power", other, self)

    def __and__(self, other: Any) -> KerasTensor:
        return _call("LogicalAnd", self, other)

    def __rand__(self, other: Any) -> KerasTensor:
        return _call("LogicalAnd", other, self)

    def __or__(self, other: Any) -> KerasTensor:
        return _call("LogicalOr", self, other)

    def __ror__(self, other: Any) -> KerasTensor:
        return _call("LogicalOr", other, self)

    def __lt__(self, other: Any) -> KerasTensor:
        return _call("Less", self, other)

    def __le__(self, other: Any) -> KerasTensor:
        return _call("LessEqual", self, other)

    def __gt__(self, other: Any) -> KerasTensor:
        return _call("Greater", self, other)

    def __ge__(self, other: Any) -> KerasTensor:
        return _call("GreaterEqual", self, other)

    def __neg__(self) -> KerasTensor:
        return _call("Negative", self)

    def __abs__(self) -> KerasTensor:
        return _call("Absolute", self)

    def __invert__(self) -> KerasTensor:
        return _call("LogicalNot", self)

    def __getitem__(self, key: Any) -> KerasTensor:
        return _call("GetItem", self, key)


def _call(name: str, *args: Any) -> KerasTensor:
    from unrolled.layers.registry import operation_classes

    result: KerasTensor = operation_classes()[name]()(*args)
    return result
