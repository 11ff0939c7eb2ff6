# SPDX-License-Identifier: MIT
"""Symbolic tensors and the calls of layers on them, of which functional models are made."""

from __future__ import annotations

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


class KerasTensor:
    """A symbolic tensor: what ``Input`` returns and layers called on it give.

    Parameters
    ----------
    shape : tuple
        ``(batch, ...)``, ``None`` where unknown.
    dtype : str
        "float32", "int32" or "bool".
    """

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
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={printable(self.name)}>"

    def __array__(self, *_: Any, **__: Any) -> NDArray[Any]:
        raise TypeError("a symbolic tensor has no values: build a Model from it and call predict")
