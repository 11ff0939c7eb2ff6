# SPDX-License-Identifier: MIT
"""MultiHeadAttention, with every option that changes inference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from unrolled import initializers
from unrolled.engine.lowering import Flow, Lowering
from unrolled.errors import ConfigError
from unrolled.layers.activation_layers import masked_scores
from unrolled.layers.attention import both, causal_mask, positions
from unrolled.layers.base import DRAWS_RANDOM_NUMBERS, Layer
from unrolled.layers.calls import as_mask
from unrolled.layers.config_values import TRAINING_ONLY, flag, not_negative, positive_int
from unrolled.layers.einsum import EinsumDense
from unrolled.layers.registry import register


@register
class MultiHeadAttention(Layer):
    """Attention in several projections at once.

    Source: keras 3.15 ``layers/attention/multi_head_attention.py``. Called as ``layer(query, value,
    key=value)``, each ``(batch, timesteps, features)``; gives ``(batch, queries, output features)``. Queries,
    values and keys that a mask leaves out take no part; a query that may look nowhere gives the mean of all
    values (see ``Semantics.softmax_zeroes_masked_rows``). The query's mask passes on.

    Parameters
    ----------
    num_heads : int
        Number of projections.
    key_dim : int
        Features of a projected query and key.
    value_dim : int, optional
        Features of a projected value; ``key_dim`` where absent.
    dropout : float
        In training only.
    use_bias : bool
        Whether projections have biases.
    output_shape : int or sequence of one int, optional
        Features of the output; those of the query where absent.
    attention_axes : int or sequence of one int, optional
        The axis of the timesteps: 1.
    sliding_window : int, optional
        How near a key must be to its query.
    use_gate : bool
        Must be false.
    softmax_robust_masking : bool
        tf.keras: see ``masked_scores``.
    kernel_initializer, bias_initializer
        Where fresh weights start.
    **kwargs
        ``name`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> x = np.zeros((2, 5, 8), np.float32)
    >>> layers.MultiHeadAttention(num_heads=2, key_dim=4)(x, x, use_causal_mask=True).shape
    (2, 5, 8)
    """

    mask_rule: ClassVar = "used; the query's passes"
    keras_versions: ClassVar = "2, 3"
    old_mask_rule: ClassVar = (
        "rows without anything allowed get equal weights, a query_mask that is given counts, and "
        "inputs keep their masks for other layers; Keras 3.10: zeros, the tensor's own, and no "
        "masks"
    )
    ignored_config: ClassVar = TRAINING_ONLY | {
        "seed": "seeds dropout only",
        "flash_attention": "chooses between equal ways to compute",
        "query_shape": "Keras 2 writes it; shapes come from the inputs",
        "key_shape": "Keras 2 writes it; shapes come from the inputs",
        "value_shape": "Keras 2 writes it; shapes come from the inputs",
    }

    stream_obstacle: ClassVar = "compares every timestep with every other"

    def __init__(
        self,
        num_heads: int,
        key_dim: int,
        value_dim: int | None = None,
        dropout: float = 0.0,
        use_bias: bool = True,
        output_shape: Any = None,
        attention_axes: object = None,
        sliding_window: int | None = None,
        use_gate: bool = False,
        softmax_robust_masking: bool = False,
        kernel_initializer: object = "glorot_uniform",
        bias_initializer: object = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = positive_int("num_heads", num_heads)
        self.key_dim = positive_int("key_dim", key_dim)
        self.value_dim = positive_int("value_dim", value_dim) if value_dim else self.key_dim
        self.dropout = not_negative("dropout", dropout)
        self.use_bias = flag("use_bias", use_bias)
        self.output_size: int | None = None
        if output_shape:
            items = output_shape if isinstance(output_shape, list | tuple) else [output_shape]
            if len(items) != 1:
                raise ConfigError("output_shape", output_shape, "expected one size")
            self.output_size = positive_int("output_shape", items[0])
        axes = [] if attention_axes is None else attention_axes
        if list(axes if isinstance(axes, list | tuple) else [axes]) not in ([], [1]):
            raise ConfigError("attention_axes", attention_axes, "only axis 1 is supported")
        self.sliding_window = (
            None if sliding_window is None else positive_int("sliding_window", sliding_window)
        )
        self.softmax_robust_masking = flag("softmax_robust_masking", softmax_robust_masking)
        if flag("use_gate", use_gate):
            raise ConfigError("use_gate", use_gate, "gated attention is not supported")
        self.kernel_initializer = initializers.get(kernel_initializer, "kernel_initializer")
        self.bias_initializer = initializers.get(bias_initializer, "bias_initializer")
        self._projections: dict[str, EinsumDense] = {}

    # Keras's names of the projections; the order is that of their creation.
    @property
    def query_dense(self) -> EinsumDense | None:
        return self._projections.get("query_dense")

    @property
    def key_dense(self) -> EinsumDense | None:
        return self._projections.get("key_dense")

    @property
    def value_dense(self) -> EinsumDense | None:
        return self._projections.get("value_dense")

    @property
    def output_dense(self) -> EinsumDense | None:
        return self._projections.get("output_dense")

    @property
    def tracked(self) -> dict[str, Any]:
        return dict(self._projections)

    @property
    def training_effect(self) -> str | None:
        return DRAWS_RANDOM_NUMBERS if self.dropout > 0 else None

    # ------------------------------------------------------------------ shapes

    def input_shapes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        query, value, key = _query_value_key(self, args, kwargs)
        return [tuple(tensor.shape) for tensor in (query, value, value if key is None else key)]

    def build(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> None:
        """Create the weights; shapes are ``(batch, timesteps, features)``.

        Parameters
        ----------
        query_shape : tuple, or list of them
            The query's, or those of query, value and key together.
        value_shape, key_shape : tuple, optional
            The key's is the value's where absent.
        """
        shapes = query_shape
        if value_shape is not None:
            shapes = [query_shape, value_shape, value_shape if key_shape is None else key_shape]
        super().build(shapes)

    def check_input_shape(self, input_shape: Any) -> None:
        fits = isinstance(input_shape, list) and 2 <= len(input_shape) <= 3
        if not fits or any(shape is None or len(shape) != 3 for shape in input_shape):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected query, value and key of rank 3, "
                f"got shapes {input_shape}"
            )
        if self._projections:
            query, value, key = (*input_shape, input_shape[1])[:3]
            for name, shape in (("query_dense", query), ("value_dense", value), ("key_dense", key)):
                self._projections[name].check_input_shape(shape)

    def build_weights(self, input_shape: Any) -> None:
        query, value, key = (*input_shape, input_shape[1])[:3]
        heads = self.num_heads

        def projection(equation: str, sizes: Sequence[int | None], bias_axes: str, name: str) -> EinsumDense:
            return EinsumDense(
                equation,
                sizes,
                bias_axes=bias_axes if self.use_bias else None,
                kernel_initializer=_fresh(self.kernel_initializer),
                bias_initializer=_fresh(self.bias_initializer),
                name=name,
            )

        for attribute, name, shape, size in (
            ("query_dense", "query", query, self.key_dim),
            ("key_dense", "key", key, self.key_dim),
            ("value_dense", "value", value, self.value_dim),
        ):
            layer = projection("abc,cde->abde", (None, heads, size), "de", name)
            layer.build(shape)
            self._projections[attribute] = layer
        size = query[-1] if self.output_size is None else self.output_size
        output = projection("abcd,cde->abe", (None, size), "e", "attention_output")
        output.build((*query[:-1], heads, self.value_dim))
        self._projections["output_dense"] = output

    def compute_output_shape(self, query_shape: Any, value_shape: Any = None, key_shape: Any = None) -> Any:
        query = query_shape[0] if isinstance(query_shape, list) else query_shape
        return (*query[:-1], query[-1] if self.output_size is None else self.output_size)

    def describe_output(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        query, value, _ = _query_value_key(self, args, kwargs)
        output = (self.compute_output_shape(query.shape), "float32")
        if not kwargs.get("return_attention_scores"):
            return output
        return [output, ((query.shape[0], self.num_heads, query.shape[1], value.shape[1]), "float32")]

    # ---------------------------------------------------------------- lowering

    call_arguments: ClassVar = frozenset({
        "query", "value", "key", "query_mask", "value_mask", "key_mask", "attention_mask",
        "return_attention_scores", "use_causal_mask",
    })  # fmt: skip

    def lower(self, plan: Lowering, x: Any, *rest: Any, **kwargs: Any) -> Any:
        """See ``Layer.lower``.

        Parameters
        ----------
        plan : Lowering
            The plan being built.
        x : Flow
            The query.
        *rest : Flow
            The value, then the key.
        **kwargs
            ``value``, ``key``, ``query_mask``, ``value_mask``, ``key_mask``, ``attention_mask`` (Flow),
            ``return_attention_scores`` and ``use_causal_mask`` (bool).
        """
        query, value, key = _query_value_key(self, (x, *rest), kwargs)
        masks = {"query": query.mask, "value": value.mask, "key": None if key is None else key.mask}
        for name in masks:
            given = kwargs.get(f"{name}_mask")
            if given is not None and (name != "query" or plan.semantics_of(self).query_mask_counts):
                masks[name] = as_mask(plan, given).value
        ops = plan.ops
        allowed = self._allowed(plan, query, value, masks, kwargs)
        q = self._project(plan, "query_dense", query)
        k = self._project(plan, "key_dense", value if key is None else key)
        v = self._project(plan, "value_dense", value)
        scale = ops.constant(np.asarray(1.0 / math.sqrt(self.key_dim), np.float32))
        return_scores = bool(kwargs.get("return_attention_scores"))
        scores = ops.matmul(ops.binary("multiply", q, scale), k, transpose_b=True)
        through_layer = (
            self.dropout > 0 or return_scores or plan.semantics_of(self).attention_always_by_softmax
        )
        if allowed is not None:
            zeroed = plan.semantics_of(self).softmax_zeroes_masked_rows or self.softmax_robust_masking
            lowered = through_layer and not zeroed
            scores = masked_scores(plan, scores, allowed, axis=3, lowered=lowered, policy=self.dtype)
        weights = ops.softmax(scores, axis=3)
        if allowed is not None and through_layer and plan.semantics_of(self).softmax_zeroes_masked_rows:
            weights = ops.select(allowed, weights, ops.constant(np.zeros((), np.float32)))
        mixed = ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))
        shape = (*query.shape[:-1], self.num_heads, self.value_dim)
        assert self.output_dense is not None
        output = self.output_dense.lower(plan, Flow(mixed, shape)).with_mask(query.mask)
        if plan.semantics_of(self).attention_takes_masks_away:
            for taken in (query, value, value if key is None else key):
                plan.take_mask_away(taken.value)
        if not return_scores:
            return output
        scores_flow = Flow(weights, (query.shape[0], self.num_heads, query.shape[1], value.shape[1]))
        if plan.semantics_of(self).explicit_mask_passes_on:
            # The scores come out of a Softmax layer that was given the mask, and keep it for another one.
            scores_flow = scores_flow.with_mask(allowed, 4)
        return [output, scores_flow]

    def _project(self, plan: Lowering, name: str, x: Flow) -> int:
        """``(batch, heads, timesteps, features)``."""
        projected = self._projections[name].lower(plan, Flow(x.value, x.shape, x.dtype))
        return plan.ops.transpose(projected.value, (0, 2, 1, 3))

    def _allowed(
        self,
        plan: Lowering,
        query: Flow,
        value: Flow,
        masks: dict[str, int | None],
        kwargs: dict[str, Any],
    ) -> int | None:
        """What may look at what, broadcasting to ``(batch, heads, queries, values)``; None: all."""
        ops = plan.ops
        allowed: int | None = None
        if masks["query"] is not None:
            allowed = ops.expand_dims(masks["query"], 2)
        for mask in dict.fromkeys((masks["value"], masks["key"])):
            if mask is not None:
                allowed = both(plan, allowed, ops.expand_dims(mask, 1))
        if kwargs.get("use_causal_mask"):
            allowed = both(plan, allowed, causal_mask(plan, query, value))
        if self.sliding_window is not None:
            window = ops.constant(np.asarray(self.sliding_window, np.float32))
            rows = positions(plan, query)
            columns = ops.transpose(positions(plan, value), (0, 2, 1))
            for distance in (ops.binary("subtract", rows, columns), ops.binary("subtract", columns, rows)):
                allowed = both(plan, allowed, ops.binary("less", distance, window))
        given = kwargs.get("attention_mask")
        if given is not None:
            if not isinstance(given, Flow) or len(given.shape) not in (3, 4):
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): attention_mask must be an array "
                    "(batch, queries, values)"
                )
            mask = given.value if given.dtype == "bool" else ops.cast(given.value, "bool")
            if len(given.shape) == 4:
                allowed = None if allowed is None else ops.expand_dims(allowed, 1)
                return both(plan, mask, allowed)
            allowed = both(plan, mask, allowed)
        return None if allowed is None else ops.expand_dims(allowed, 1)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "value_dim": self.value_dim,
            "dropout": self.dropout,
            "use_bias": self.use_bias,
            "output_shape": None if self.output_size is None else (self.output_size,),
            "attention_axes": (1,),
            "sliding_window": self.sliding_window,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }
        return config | ({"softmax_robust_masking": True} if self.softmax_robust_masking else {})


def _query_value_key(layer: Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The three inputs of a call, by position or name; the key may be None."""
    given = dict(zip(("query", "value", "key"), args, strict=False))
    for name in ("query", "value", "key"):
        if kwargs.get(name) is not None:
            given[name] = kwargs[name]
    if given.get("query") is None or given.get("value") is None:
        raise ValueError(f"layer {layer.name!r} ({layer.class_name}): expected a query and a value")
    return given["query"], given["value"], given.get("key")


def _fresh(initializer: initializers.Initializer) -> initializers.Initializer:
    """A copy that draws numbers of its own."""
    if isinstance(initializer, initializers.FromFunction | initializers.Unknown):
        return initializer
    return type(initializer).from_config(initializer.get_config())
