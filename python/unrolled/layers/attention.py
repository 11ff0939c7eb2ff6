# SPDX-License-Identifier: MIT
"""Attention, AdditiveAttention and MultiHeadAttention."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from unrolled import _core, activations, initializers
from unrolled.engine import tree
from unrolled.engine.lowering import Flow, Lowering
from unrolled.engine.variables import Variable
from unrolled.layers.activation_layers import masked_scores
from unrolled.layers.base import DRAWS_RANDOM_NUMBERS
from unrolled.layers.config_values import choice, flag, not_negative
from unrolled.layers.merging import Merging
from unrolled.layers.registry import register
from unrolled.layers.symbolic import KerasTensor


def positions(plan: Lowering, x: Flow) -> int:
    """``(batch, timesteps, 1)``: the number of every timestep of ``x``, from 1.

    Sums of ones, exact in float32: no operation counts, and the number of timesteps may be unknown.
    """
    first = plan.ops.slice(x.value, axis=2, start=0, stop=1)
    one = np.ones((1, 1), np.float32)
    linear = activations.linear.core()
    running_sum = _core.Direction(
        cell="simple_rnn",
        kernel=one,
        recurrent_kernel=one,
        bias=None,
        activation=linear,
        recurrent_activation=linear,
    )
    (value,) = plan.ops.recurrent(plan.ops.ones_like(first, "float32"), [running_sum], return_sequences=True)
    return value


def causal_mask(plan: Lowering, query: Flow, value: Flow) -> int:
    """``(batch, queries, values)``: true where the value is not later than the query."""
    rows = positions(plan, query)
    columns = plan.ops.transpose(rows if value is query else positions(plan, value), (0, 2, 1))
    return plan.ops.binary("greater_equal", rows, columns)


def both(plan: Lowering, a: int | None, b: int | None) -> int | None:
    """The masks combined; None allows all."""
    if a is None or b is None:
        return b if a is None else a
    return plan.ops.binary("and", a, b)


class DotAttention(Merging):
    """Base of Attention and AdditiveAttention: a mean of values weighted by scores of query and key.

    Source: keras 3.15 ``layers/attention/attention.py``. Takes ``[query, value]`` or
    ``[query, value, key]``, each ``(batch, timesteps, features)``, gives ``(batch, queries, values'
    features)``. Values that their mask leaves out take no part; queries that theirs leaves out give zeros,
    and their mask passes on.

    Parameters
    ----------
    use_scale : bool
        Whether scores have a learnt scale.
    dropout : float
        In training only.
    causal : bool
        Keras 2: as ``use_causal_mask=True`` in every call.
    """

    mask_rule: ClassVar = "used; the query's passes"
    keras_versions: ClassVar = "2, 3"
    old_mask_rule: ClassVar = (
        "the mask after it is that of the query tensor, or none; Keras 3.11: the one that was given"
    )
    ignored_config: ClassVar = {"seed": "seeds dropout only"}

    def __init__(
        self, use_scale: bool = False, dropout: float = 0.0, causal: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.use_scale = flag("use_scale", use_scale)
        self.dropout = not_negative("dropout", dropout)
        self.causal = flag("causal", causal)
        self.scale: Variable | None = None

    @property
    def training_effect(self) -> str | None:
        return DRAWS_RANDOM_NUMBERS if self.dropout > 0 else None

    def check_input_shape(self, input_shape: Any) -> None:
        super().check_input_shape(input_shape)
        if not 2 <= len(input_shape) <= 3 or any(len(shape) != 3 for shape in input_shape):
            raise ValueError(
                f"layer {self.name!r} ({self.class_name}): expected [query, value] or [query, value, key] of "
                f"rank 3, got shapes {[tuple(shape) for shape in input_shape]}"
            )

    def compute_output_shape(self, input_shape: Any) -> Any:
        query, value = input_shape[:2]
        return (*query[:-1], value[-1])

    def describe_output(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        shapes = [leaf.shape for leaf in tree.leaves(args[0]) if isinstance(leaf, KerasTensor)]
        output = (self.compute_output_shape(shapes), "float32")
        if not kwargs.get("return_attention_scores"):
            return output
        return [output, ((*shapes[0][:-1], shapes[-1][1]), "float32")]

    def scores(self, plan: Lowering, query: Flow, key: Flow) -> int:
        """``(batch, queries, values)``."""
        raise NotImplementedError

    def tanh_of_sums(self, plan: Lowering, query: Flow, key: Flow, scale: Any) -> int:
        """``(batch, queries, values, features)``: tanh(scale (query + key))."""
        ops = plan.ops
        value = ops.binary("add", ops.expand_dims(query.value, 2), ops.expand_dims(key.value, 1))
        if scale is not None:
            value = ops.binary("multiply", value, ops.constant(plan.packed(scale)))
        return ops.activate(value, activations.tanh.core())

    def lower(
        self,
        plan: Lowering,
        x: Any,
        return_attention_scores: bool = False,
        use_causal_mask: bool = False,
        **kwargs: Any,
    ) -> Any:
        """See ``Layer.lower``; the masks are those of query and value."""
        if kwargs:
            raise TypeError(f"layer {self.name!r} ({self.class_name}): unknown arguments {sorted(kwargs)}")
        ops = plan.ops
        query, value, key = (plan.as_float(flow) for flow in (*x, x[1])[:3])
        scores = self.scores(plan, query, key)
        causal = self.causal or use_causal_mask
        hidden = causal and plan.semantics_of(self).causal_mask_hides_value_mask
        allowed = None if value.mask is None or hidden else ops.expand_dims(value.mask, 1)
        if causal:
            allowed = both(plan, allowed, causal_mask(plan, query, value))
        if allowed is not None:
            scores = masked_scores(plan, scores, allowed, axis=2, lowered=True, policy=self.dtype)
        weights = ops.softmax(scores, axis=2)
        result = ops.matmul(weights, value.value)
        if query.mask is not None:
            result = ops.apply_mask(result, query.mask)
        shape = self.compute_output_shape([query.shape, value.shape])
        output = Flow(result, shape).with_mask(query.mask, query.mask_rank)
        if not return_attention_scores:
            return output
        return [output, Flow(weights, (*query.shape[:-1], key.shape[1]))]

    def output_masks(self, plan: Lowering, result: Any, given: Any, masked: Any) -> Any:
        result = super().output_masks(plan, result, given, masked)
        semantics = plan.semantics_of(self)
        if not semantics.lists_carry_masks or semantics.explicit_mask_passes_on:
            return result
        output, *scores = result if isinstance(result, list) else [result]
        output = output.with_mask(given[0].mask, given[0].mask_rank)
        return [output, *scores] if scores else output

    def get_config(self) -> dict[str, Any]:
        config = super().get_config() | {"use_scale": self.use_scale, "dropout": self.dropout}
        return config | ({"causal": True} if self.causal else {})


@register
class Attention(DotAttention):
    """Dot-product attention. See ``DotAttention``, also for masks.

    Source: keras 3.15 ``layers/attention/attention.py``.

    Parameters
    ----------
    use_scale : bool
        Whether scores have a learnt scale.
    score_mode : {"dot", "concat"}
        Products of query and key, or sums of tanh(query + key).
    dropout : float
        In training only.
    causal : bool
        Keras 2: as ``use_causal_mask=True`` in every call.
    **kwargs
        ``name`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> query, value = np.zeros((2, 3, 4), np.float32), np.zeros((2, 5, 4), np.float32)
    >>> layers.Attention()([query, value]).shape
    (2, 3, 4)
    """

    def __init__(
        self,
        use_scale: bool = False,
        score_mode: str = "dot",
        dropout: float = 0.0,
        causal: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(use_scale, dropout, causal, **kwargs)
        self.score_mode = choice("score_mode", score_mode, ["dot", "concat"])
        self.concat_score_weight: Variable | None = None

    def build_weights(self, input_shape: Any) -> None:
        if self.use_scale:
            self.scale = self.add_weight("scale", (), initializers.Ones())
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight("concat_score_weight", (), initializers.Ones())

    def scores(self, plan: Lowering, query: Flow, key: Flow) -> int:
        ops = plan.ops
        if self.score_mode == "dot":
            value = ops.matmul(query.value, key.value, transpose_b=True)
            scale = self.scale
        else:
            value = ops.reduce(self.tanh_of_sums(plan, query, key, self.scale), kind="sum", axes=(3,))
            scale = self.concat_score_weight
        return value if scale is None else ops.binary("multiply", value, ops.constant(plan.packed(scale)))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"score_mode": self.score_mode}


@register
class AdditiveAttention(DotAttention):
    """Attention whose scores are sums of scale tanh(query + key). See ``DotAttention``, also for masks.

    Source: keras 3.15 ``layers/attention/additive_attention.py``.

    Parameters
    ----------
    use_scale : bool
        Whether every feature has a learnt weight.
    dropout : float
        In training only.
    causal : bool
        Keras 2: as ``use_causal_mask=True`` in every call.
    **kwargs
        ``name`` and the like.

    Examples
    --------
    >>> import numpy as np
    >>> from unrolled import layers
    >>> query, value = np.zeros((2, 3, 4), np.float32), np.zeros((2, 5, 4), np.float32)
    >>> layers.AdditiveAttention()([query, value]).shape
    (2, 3, 4)
    """

    def __init__(
        self, use_scale: bool = True, dropout: float = 0.0, causal: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(use_scale, dropout, causal, **kwargs)

    def build_weights(self, input_shape: Any) -> None:
        if self.use_scale:
            which = self.semantics.additive_attention_scales
            size = input_shape[0 if which == "query" else 1][-1]
            if size is None:
                raise ValueError(
                    f"layer {self.name!r} ({self.class_name}): the features of the {which} must be known, "
                    f"got shapes {[tuple(shape) for shape in input_shape]}"
                )
            self.scale = self.add_weight("scale", (size,), initializers.GlorotUniform())

    def scores(self, plan: Lowering, query: Flow, key: Flow) -> int:
        ops = plan.ops
        values = self.tanh_of_sums(plan, query, key, None)
        if self.scale is not None:
            scale = plan.packed(self.scale)
            if query.shape[-1] == key.shape[-1] == scale.size:
                return ops.squeeze(
                    ops.dense(values, scale.reshape(-1, 1), None, activations.linear.core()), 3
                )
            # Sizes of 1 are broadcast along the others.
            values = ops.binary("multiply", values, ops.constant(scale))
        return ops.reduce(values, kind="sum", axes=(3,))
