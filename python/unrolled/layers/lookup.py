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
class IntegerLookup(Layer):
    """Integers to their places in a vocabulary that is in the config.

    Source: keras 3.15 ``layers/preprocessing/integer_lookup.py`` and ``index_lookup.py``. Places count the
    mask token first (where there is one), then the out-of-vocabulary index, then the vocabulary. There is
    no mask.

    Parameters
    ----------
    max_tokens : int, optional
        Largest size of the vocabulary; used with ``pad_to_max_tokens``.
    num_oov_indices : {0, 1}
        Whether integers outside the vocabulary have an index; without one they give -1.
    mask_token : int, optional
        The integer that stands for nothing, place 0.
    oov_token : int
        Stands for the out-of-vocabulary index where the vocabulary lists it.
    vocabulary : list of int
        The integers that have a place.
    output_mode : {"int", "multi_hot", "one_hot", "count"}
        Places, or as ``CategoryEncoding``.
    pad_to_max_tokens : bool
        Whether encoded vectors have ``max_tokens`` elements.
    invert, sparse : bool
        Must be false.
    idf_weights : None
        Weighted encodings are refused.
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
    ignored_config: ClassVar = {
        "vocabulary_dtype": "places do not depend on it",
        "vocabulary_size": "follows from the vocabulary",
        "has_input_vocabulary": "tf.keras: follows from the vocabulary",
        "oov_method": "chooses among several out-of-vocabulary indices, which are refused",
        "salt": "chooses among several out-of-vocabulary indices, which are refused",
    }
    min_rank: ClassVar = 2
    needs_timesteps: ClassVar = True

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int | None = -1,
        vocabulary: object = None,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        invert: bool = False,
        sparse: bool = False,
        idf_weights: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        limits = {"minimum": -(2**31), "maximum": 2**31 - 1}
        self.max_tokens = (
            None if max_tokens is None else positive_int("max_tokens", max_tokens, maximum=MAX_TOKENS)
        )
        self.num_oov_indices = positive_int("num_oov_indices", num_oov_indices, minimum=0, maximum=1)
        self.mask_token = None if mask_token is None else positive_int("mask_token", mask_token, **limits)
        self.oov_token = -1 if oov_token is None else positive_int("oov_token", oov_token, **limits)
        for key, value in (("invert", invert), ("sparse", sparse)):
            if flag(key, value):
                raise ConfigError(key, value, "only false is supported")
        if idf_weights is not None:
            raise ConfigError("idf_weights", idf_weights, "weighted encodings are not supported")
        self.output_mode = choice(
            "output_mode", "multi_hot" if output_mode == "binary" else output_mode, ["int", *ENCODINGS]
        )
        self.pad_to_max_tokens = flag("pad_to_max_tokens", pad_to_max_tokens)
        given = vocabulary.tolist() if isinstance(vocabulary, np.ndarray) else vocabulary
        if not isinstance(given, list | tuple) or not 0 < len(given) <= MAX_TOKENS:
            raise ConfigError(
                "vocabulary", vocabulary, f"expected a list of 1 to {MAX_TOKENS} integers in the config"
            )
        tokens = [positive_int("vocabulary", token, **limits) for token in given]
        special = [] if self.mask_token is None else [self.mask_token]
        special += [self.oov_token] * self.num_oov_indices
        if special and tokens[: len(special)] == special:
            tokens = tokens[len(special) :]
        if len(set(tokens)) < len(tokens) or self.mask_token in tokens:
            raise ConfigError("vocabulary", vocabulary, "a token stands twice")
        self.vocabulary = tokens
        self._first = len(special)

    takes_id_sequences: ClassVar = True

    def find_stream_obstacle(self, x: Flow) -> str | None:
        counts_all = self.output_mode != "int" and len(x.shape) < 3
        return "encodes all timesteps together" if counts_all else None

    @property
    def depth(self) -> int:
        """Elements of an encoded vector."""
        if self.pad_to_max_tokens and self.max_tokens is not None:
            return self.max_tokens
        # A mask token has a place in "int" only.
        masked = int(self.mask_token is not None)
        return len(self.vocabulary) + self._first - (0 if self.output_mode == "int" else masked)

    def output_dtype(self, input_dtype: str) -> str:
        return "int32" if self.output_mode == "int" else "float32"

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if self.output_mode == "int":
            return tuple(input_shape)
        return encoded_shape(self, input_shape, self.output_mode, self.depth)

    def lower(self, plan: Lowering, x: Flow, **kwargs: Any) -> Flow:
        ops = plan.ops
        ids = as_integers(plan, x)
        rank = len(ids.shape)
        skipped_mask = self.mask_token is not None and self.output_mode != "int"
        first = self._first - int(skipped_mask)
        # Places from 1 on, so that a sum over no hit is 0.
        hits = ops.binary(
            "equal", ops.expand_dims(ids.value, rank), ops.constant(np.asarray(self.vocabulary, np.int32))
        )
        places = ops.constant(np.arange(1, len(self.vocabulary) + 1, dtype=np.int32))
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

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "max_tokens": self.max_tokens,
            "num_oov_indices": self.num_oov_indices,
            "mask_token": self.mask_token,
            "oov_token": self.oov_token,
            "vocabulary": self.vocabulary,
            "output_mode": self.output_mode,
            "pad_to_max_tokens": self.pad_to_max_tokens,
        }
