# SPDX-License-Identifier: MIT
"""Rows of a table by index."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from unrolled import initializers
from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.engine.variables import Variable
from unrolled.layers.base import Layer
from unrolled.layers.config_values import TRAINING_ONLY, checked_shape, flag, positive_int
from unrolled.layers.core import LORA_IGNORED, int8_config
from unrolled.layers.quantization import take_int8
from unrolled.layers.registry import register


@register
class Embedding(Layer):
    """Rows of a table by index.

    Source: keras 3.15 ``layers/core/embedding.py``; ``input_length``: tf_keras 2.21
    ``layers/core/embedding.py``. Input ``(batch, ...)`` of integers from 0 to ``input_dim - 1`` (floats are
    truncated; an index out of range is an error when run), output ``(batch, ..., output_dim)``. With
    ``mask_zero`` the mask is ``ids != 0``, else there is none.

    Parameters
    ----------
    input_dim : int
        Rows of the table.
    output_dim : int
        Size of a row.
    embeddings_initializer
        Where a fresh table starts.
    mask_zero : bool
        Whether index 0 is padding.
    input_length : int or list, optional
        Keras 2's declaration of the input's shape.
    weights : list of array_like, optional
        The table.
    quantization_config : mapping, optional
        Of a layer that Keras 3 quantised to int8 (its dtype is "int8_from_float32").
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layer = layers.Embedding(10, 4, mask_zero=True)
    >>> ids = np.array([[3, 0, 5]])
    >>> layer(ids).shape, layer.compute_mask(ids).tolist()
    ((1, 3, 4), [[True, False, True]])
    """

    mask_rule: ClassVar = "made by `mask_zero`: `ids != 0`"
    has_int8: ClassVar = True
    ignored_config: ClassVar = (
        TRAINING_ONLY
        | LORA_IGNORED
        | {
            "embeddings_regularizer": "adds to the training loss only",
            "embeddings_constraint": "applied after a training step only",
            "sparse": "chooses how gradients are kept",
            "dropout": "Keras 1: active in training only",
        }
    )

    stream_obstacle: ClassVar = None
    takes_id_sequences: ClassVar = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: object = "uniform",
        mask_zero: bool = False,
        input_length: object = None,
        weights: Any = None,
        quantization_config: object = None,
        **kwargs: Any,
    ) -> None:
        self.is_int8, _ = take_int8(kwargs, quantization_config)
        super().__init__(**kwargs)
        self.input_dim = positive_int("input_dim", input_dim)
        self.output_dim = positive_int("output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer, "embeddings_initializer")
        self.mask_zero = flag("mask_zero", mask_zero)
        self.quantization_config = quantization_config
        self.embeddings_scale: Variable | None = None
        self.input_length: tuple[int | None, ...] = ()
        if input_length is not None:
            lengths = input_length if isinstance(input_length, list | tuple) else [input_length]
            self.input_length = checked_shape("input_length", lengths)
            if self.declared_input_shape is None:
                self.declared_input_shape = (None, *self.input_length)
        if isinstance(weights, list | tuple) and len(weights) == 1:
            weights = weights[0]
        self._given_weights = None if weights is None else initializers.Constant(weights)
        self.embeddings: Variable | None = None

    def build_weights(self, input_shape: Shape) -> None:
        shape = (self.input_dim, self.output_dim)
        self.embeddings = self.add_weight(
            "embeddings", shape, self.embeddings_initializer, trainable=not self.is_int8
        )
        if self.is_int8:
            self.embeddings_scale = self.add_weight(
                "embeddings_scale", (self.input_dim,), initializers.Ones(), trainable=False
            )
        if self._given_weights is not None:
            self.embeddings.assign(self._given_weights(self._given_weights.value_shape))

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        lengths = self.input_length
        if lengths and (
            len(lengths) != len(input_shape) - 1
            or any(
                want is not None and got is not None and want != got
                for want, got in zip(lengths, input_shape[1:], strict=True)
            )
        ):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): input_length is {list(lengths)}, "
                f"got shape {tuple(input_shape)}"
            )

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = tuple(input_shape)
        if self.input_length:
            lengths = zip(self.input_length, sizes[1:], strict=True)
            sizes = (sizes[0], *(want if got is None else got for want, got in lengths))
        return (*sizes, self.output_dim)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        ids = x.value if x.dtype != "bool" else plan.ops.cast(x.value, "int32")
        table = plan.packed(self.embeddings)
        if self.is_int8:
            table = table / plan.packed(self.embeddings_scale)[:, None]
        result = Flow(plan.ops.embedding(ids, table), self.compute_output_shape(x.shape))
        if not self.mask_zero:
            return result
        zero = np.zeros((), np.float32 if x.dtype == "float32" else np.int32)
        mask = plan.ops.binary("not_equal", ids, plan.ops.constant(zero))
        return result.with_mask(mask, len(x.shape))

    def get_config(self) -> dict[str, Any]:
        return (
            super().get_config()
            | int8_config(self)
            | {
                "input_dim": self.input_dim,
                "output_dim": self.output_dim,
                "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
                "mask_zero": self.mask_zero,
            }
        )
