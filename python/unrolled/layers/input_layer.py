# SPDX-License-Identifier: MIT
"""The inputs of models."""

from __future__ import annotations

from typing import Any, ClassVar

from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import checked_shape, flag, positive_int
from unrolled.layers.core import tensor_dtype
from unrolled.layers.registry import register
from unrolled.layers.symbolic import KerasTensor, Node


@register
class InputLayer(Layer):
    """An input of a model. ``Input()`` makes one and returns its tensor.

    Source: keras 3.15 ``layers/core/input_layer.py``. Has no mask.

    Parameters
    ----------
    shape : tuple, optional
        Of one row: without the batch axis. ``None`` where any size goes.
    batch_size : int, optional
        The batch size, where it is fixed.
    dtype : str, optional
        Floats are computed as float32, integers as int32; "string" for text, which TextVectorization and
        StringLookup read.
    sparse, ragged : bool
        Must be false.
    batch_shape : tuple, optional
        ``(batch, ...)``, instead of ``shape`` and ``batch_size``.
    name : str, optional
        Keras's automatic name where absent.

    Examples
    --------
    >>> from unrolled import layers
    >>> layers.InputLayer(shape=(7, 3)).batch_shape
    (None, 7, 3)
    """

    mask_rule: ClassVar = "none"
    keras_versions: ClassVar = "2, 3"
    ignored_config: ClassVar = {
        "optional": "every input must be given here",
        "input_tensor": "only a graph being built in Keras has one",
    }

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: object = None,
        sparse: bool | None = False,
        ragged: bool | None = False,
        batch_shape: Any = None,
        *,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if batch_shape is None:
            batch_shape = kwargs.pop("batch_input_shape", None)
        if shape is None:
            shape = kwargs.pop("input_shape", None)
        super().__init__(name=name, **kwargs)
        for key, value in (("sparse", sparse), ("ragged", ragged)):
            if flag(key, value):
                raise ConfigError(key, value, f"{key} tensors are not supported")
        if batch_shape is None:
            if shape is None:
                raise ConfigError("shape", shape, "expected shape or batch_shape")
            if batch_size is not None:
                batch_size = positive_int("batch_size", batch_size)
            batch_shape = (
                batch_size,
                *((shape,) if isinstance(shape, int) else checked_shape("shape", shape)),
            )
        self.batch_shape = checked_shape("batch_shape", batch_shape)
        if not self.batch_shape:
            raise ConfigError("batch_shape", batch_shape, "expected at least the batch axis")
        self.dtype = "float32" if dtype is None else str(getattr(dtype, "name", dtype))
        self.declared_input_shape = self.batch_shape
        self.built = True
        node = Node(self, (), {})
        kind = "string" if self.dtype == "string" else tensor_dtype("dtype", dtype)
        node.outputs = KerasTensor(self.batch_shape, kind, node=node, name=self.name)
        self.nodes.append(node)

    @property
    def output(self) -> KerasTensor:
        """The symbolic tensor of this input."""
        tensor: KerasTensor = self.nodes[0].outputs
        return tensor

    def output_dtype(self, input_dtype: str) -> str:
        return input_dtype

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        return x

    def get_config(self) -> dict[str, Any]:
        return {
            "batch_shape": self.batch_shape,
            "dtype": self.dtype,
            "sparse": False,
            "ragged": False,
            "name": self.name,
        }


def Input(  # noqa: N802 - Keras's name
    shape: Any = None,
    batch_size: int | None = None,
    dtype: object = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: KerasTensor | None = None,
    optional: bool = False,
) -> KerasTensor:
    """The symbolic tensor of a new input.

    Parameters
    ----------
    shape : tuple, optional
        Of one row: without the batch axis.
    batch_size : int, optional
        The batch size, where it is fixed.
    dtype : str, optional
        "float32" where absent.
    sparse, ragged : bool, optional
        Must be false.
    batch_shape : tuple, optional
        ``(batch, ...)``, instead of ``shape`` and ``batch_size``.
    name : str, optional
        Keras's automatic name where absent.
    tensor : KerasTensor, optional
        Returned as it is.
    optional : bool
        Kept for Keras's signature; every input must be given.

    Returns
    -------
    KerasTensor

    Examples
    --------
    >>> from unrolled import Input
    >>> Input(shape=(7, 3)).shape
    (None, 7, 3)
    """
    if tensor is not None:
        return tensor
    return InputLayer(
        shape, batch_size, dtype, sparse, ragged, batch_shape, name=name, optional=optional
    ).output
