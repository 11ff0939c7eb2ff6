# SPDX-License-Identifier: MIT
"""Categories: IntegerLookup and CategoryEncoding."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from unrolled.engine.lowering import Flow, Lowering, Shape
from unrolled.errors import ConfigError
from unrolled.layers.base import Layer
from unrolled.layers.config_values import choice, flag, positive_int
from unrolled.layers.registry import register
from unrolled.layers.text.lookup import Lookup

ENCODINGS = ("multi_hot", "one_hot", "count")


# Every element is compared with every token, so that few tokens are enough.
MAX_TOKENS = 2**16


def encode(layer: Layer, plan: Lowering, ids: Flow, mode: str, depth: int) -> Flow:
    """``ids`` (int32) as vectors of ``depth``: one for each, or one for all on the last axis."""
    ops = plan.ops
    shape = encoded_shape(layer, ids.shape, mode, depth)
    value, rank = ids.value, len(ids.shape)
    if mode == "one_hot" and ids.shape[-1] == 1:
        value, rank = ops.squeeze(value, rank - 1), rank - 1
    tokens = ops.constant(np.arange(depth, dtype=np.int32))
    hits = ops.binary("equal", ops.expand_dims(value, rank), tokens)
    if mode == "multi_hot":
        hits = ops.reduce(hits, kind="any", axes=(rank - 1,))
    result = ops.cast(hits, "float32")
    if mode == "count":
        result = ops.reduce(result, kind="sum", axes=(rank - 1,))
    return Flow(result, shape)


def encoded_shape(layer: Layer, shape: Shape, mode: str, depth: int) -> Shape:
    """The shape after ``encode``."""
    if mode == "one_hot" and shape[-1] is None:
        raise ValueError(
            f"layer {layer.name!r} ({layer.class_name}): the size of the last axis must be known for one_hot, "
            f"got shape {tuple(shape)}"
        )
    leading = tuple(shape) if mode == "one_hot" and shape[-1] != 1 else tuple(shape[:-1])
    return (*leading, depth)


def as_integers(plan: Lowering, x: Flow) -> Flow:
    """``x`` in int32, floats truncated as Keras does."""
    if x.dtype == "int32":
        return x
    return Flow(plan.ops.cast(x.value, "int32"), x.shape, "int32")


@register
class CategoryEncoding(Layer):
    """Integers as vectors of zeros and ones, or of counts.

    Source: keras 3.15 ``layers/preprocessing/category_encoding.py``. Input ``(batch, ..., n)``, output
    ``(batch, ..., num_tokens)``, in mode "one_hot" ``(batch, ..., n, num_tokens)`` unless n is 1. An integer
    out of range counts for nothing. There is no mask.

    Parameters
    ----------
    num_tokens : int
        Integers are from 0 to this less 1.
    output_mode : {"multi_hot", "one_hot", "count"}
        One vector for all of a row, one for each integer, or how often each occurs in a row.
    sparse : bool
        Must be false.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.CategoryEncoding(4)(np.array([[0, 2]])).tolist()
    [[1.0, 0.0, 1.0, 0.0]]
    """

    mask_rule: ClassVar = "ends"
    keras_versions: ClassVar = "2, 3"
    min_rank: ClassVar = 2
    needs_timesteps: ClassVar = True

    def __init__(
        self, num_tokens: int, output_mode: str = "multi_hot", sparse: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_tokens = positive_int("num_tokens", num_tokens, maximum=MAX_TOKENS)
        self.output_mode = choice(
            "output_mode", "multi_hot" if output_mode == "binary" else output_mode, ENCODINGS
        )
        if flag("sparse", sparse):
            raise ConfigError("sparse", sparse, "sparse tensors are not supported")

    stream_obstacle: ClassVar = None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return encoded_shape(self, input_shape, self.output_mode, self.num_tokens)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        if kwargs:
            raise TypeError(f"layer {self.name!r} ({self.class_name}): unknown arguments {sorted(kwargs)}")
        return encode(self, plan, as_integers(plan, x), self.output_mode, self.num_tokens)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_tokens": self.num_tokens, "output_mode": self.output_mode}


@register
class IntegerLookup(Lookup):
    """Integers to their places in a vocabulary, or places to integers.

    Source: keras 3.15 ``layers/preprocessing/integer_lookup.py`` and ``index_lookup.py``. Places count the
    mask token first (where there is one), then the out-of-vocabulary indices, then the vocabulary. There is
    no mask. With several of these indices, ``invert``, weights or more than 65,536 tokens it runs in Python.

    Parameters
    ----------
    max_tokens : int, optional
        Largest size of the vocabulary; used with ``pad_to_max_tokens``.
    num_oov_indices : int
        Indices for integers outside the vocabulary, chosen by the remainder, or by ``oov_method``; without one
        they give -1.
    mask_token : int, optional
        The integer that stands for nothing, place 0.
    oov_token : int
        Stands for the out-of-vocabulary index where the vocabulary lists it.
    vocabulary : list of int
        The integers that have a place.
    output_mode : {"int", "multi_hot", "one_hot", "count", "tf_idf"}
        Places, or as ``CategoryEncoding``.
    pad_to_max_tokens : bool
        Whether encoded vectors have ``max_tokens`` elements.
    idf_weights : list of float, optional
        A weight for each token, with ``output_mode="tf_idf"``.
    invert : bool
        Places in, integers out; ``oov_token`` for places without one.
    sparse : bool
        Must be false.
    oov_method : {"floormod", "farmhash"}
        How one of several out-of-vocabulary indices is chosen.
    salt : int or list of int, optional
        The key of SipHash, in place of FarmHash64.
    **kwargs
        ``input_shape`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> layers.IntegerLookup(vocabulary=[12, 36])(np.array([[36, 12, 7]])).tolist()
    [[2, 1, 0]]
    """

    mask_rule: ClassVar = "ends"
    keras_versions: ClassVar = "2, 3"
    min_rank: ClassVar = 2
    stream_obstacle: ClassVar = Lookup.stream_obstacle

    def __init__(self, *, oov_token: int | None = -1, **kwargs: Any) -> None:
        super().__init__(oov_token=-1 if oov_token is None else oov_token, **kwargs)

    def checked_token(self, key: str, token: Any) -> int:
        """See ``Lookup.checked_token``."""
        return positive_int(key, token, minimum=-(2**31), maximum=2**31 - 1)

    @property
    def is_compiled(self) -> bool:
        """Whether the lookup is operations of the plan, and no call of a Python function."""
        small = len(self.vocabulary) <= MAX_TOKENS
        return small and not self.invert and self.num_oov_indices <= 1 and self.output_mode != "tf_idf"

    takes_id_sequences: ClassVar = True

    def check_input_shape(self, input_shape: Any) -> None:
        if self.is_compiled:
            Layer.check_input_shape(self, input_shape)
        else:
            super().check_input_shape(input_shape)

    def find_stream_obstacle(self, x: Any) -> str | None:
        if not self.is_compiled:
            return self.stream_obstacle
        counts_all = self.output_mode != "int" and len(x.shape) < 3
        return "encodes all timesteps together" if counts_all else None

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        ops = plan.ops
        ids = as_integers(plan, x)
        if not self.is_compiled:
            return super().lower(plan, ids, **kwargs)
        rank = len(ids.shape)
        skipped_mask = self.mask_token is not None and self.output_mode != "int"
        first = self._table.start
        tokens = np.asarray(self._table.tokens, np.int32)
        # Places from 1 on, so that a sum over no hit is 0.
        hits = ops.binary("equal", ops.expand_dims(ids.value, rank), ops.constant(tokens))
        places = ops.constant(np.arange(1, len(tokens) + 1, dtype=np.int32))
        zero = ops.constant(np.zeros((), np.int32))
        place = ops.reduce(ops.select(hits, places, zero), kind="sum", axes=(rank,))
        outside = first - 1 if self.num_oov_indices else -1
        found = ops.binary("add", place, ops.constant(np.asarray(first - 1, np.int32)))
        is_known = ops.binary("greater", place, zero)
        value = ops.select(is_known, found, ops.constant(np.asarray(outside, np.int32)))
        if self.mask_token is not None:
            is_mask = ops.binary("equal", ids.value, ops.constant(np.asarray(self.mask_token, np.int32)))
            value = ops.select(is_mask, ops.constant(np.asarray(-1 if skipped_mask else 0, np.int32)), value)
        result = Flow(value, ids.shape, "int32")
        return (
            result if self.output_mode == "int" else encode(self, plan, result, self.output_mode, self.depth)
        )
