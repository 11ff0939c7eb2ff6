# SPDX-License-Identifier: MIT
"""Single layers compared with Keras: class, config and input shapes. Plain data, read by ``make_expected.py``
(which needs Keras) and by the tests (which do not)."""

from __future__ import annotations

from typing import Any

from numpy.random import default_rng

ACTIVATIONS = [
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish",
    "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu",
    "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid",
    "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink",
]  # fmt: skip

ELEMENTWISE = ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"]
MERGES = ["Add", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"]
TWO_MASKS = [[(3, 4), (3, 4)], [(3, 4), None], [None, (3, 4)]]


def case(
    class_name: str, config: dict[str, Any] | None = None, *shapes: tuple[int, ...], **options: Any
) -> Any:
    """One comparison.

    Parameters
    ----------
    class_name : str
        In ``keras.layers`` and in ``unrolled.layers``.
    config : dict, optional
        Arguments of the constructor.
    *shapes : tuple of int
        Of the inputs, batch included.
    **options
        ``mask``: shape of a mask for every input; ``integers``: inputs are ids below this number;
        ``call``: further arguments of the call; ``spread``: the inputs are arguments of their own.
    """
    return {"class_name": class_name, "config": config or {}, "shapes": shapes, **options}


def make_layer(layers: Any, this: dict[str, Any]) -> Any:
    """The layer of a case from ``keras.layers`` or ``unrolled.layers``; cases in its config are layers, too."""

    def value(item: Any) -> Any:
        if isinstance(item, list):
            return [value(element) for element in item]
        return make_layer(layers, item) if isinstance(item, dict) else item

    return getattr(layers, this["class_name"])(**{key: value(item) for key, item in this["config"].items()})


CELLS = [
    case("SimpleRNNCell", {"units": 2}),
    case("GRUCell", {"units": 3, "reset_after": False}),
    case("GRUCell", {"units": 3}),
    case("LSTMCell", {"units": 3}),
]
GEOMETRIES = [
    {},
    {"strides": 2},
    {"padding": "same", "dilation_rate": 2},
    {"use_bias": False, "go_backwards": True},
]


CASES = [
    *(case("Activation", {"activation": name}, (2, 3, 6)) for name in ACTIVATIONS),
    case("Dense", {"units": 4}, (3, 5)),
    case("Dense", {"units": 4, "activation": "softmax"}, (2, 3, 5)),
    case("Dense", {"units": 4, "activation": "relu", "use_bias": False}, (2, 3, 4, 5)),
    case("Embedding", {"input_dim": 7, "output_dim": 3}, (2, 5), integers=7),
    case("Embedding", {"input_dim": 7, "output_dim": 3, "mask_zero": True}, (2, 5), integers=7),
    case("Masking", {"mask_value": 1.0}, (2, 5, 3), integers=2),
    case("ReLU", {"max_value": 1.0, "negative_slope": 0.25, "threshold": 0.5}, (2, 40)),
    case("ReLU", {"max_value": 1.0}, (2, 40)),
    case("ReLU", {"threshold": 0.5}, (2, 40)),
    case("LeakyReLU", {}, (2, 40)),
    case("LeakyReLU", {"negative_slope": 0.1}, (2, 40)),
    case("ELU", {"alpha": 0.7}, (2, 40)),
    case("PReLU", {"alpha_initializer": "random_normal"}, (2, 3, 4)),
    case("PReLU", {"alpha_initializer": "random_normal", "shared_axes": [1]}, (2, 3, 4)),
    case("Softmax", {}, (2, 3, 4)),
    case("Softmax", {"axis": 1}, (2, 3, 4)),
    case("Dropout", {"rate": 0.5}, (2, 3)),
    case("SpatialDropout1D", {"rate": 0.5}, (2, 3, 4)),
    case("GaussianNoise", {"stddev": 0.5}, (2, 3)),
    case("GaussianDropout", {"rate": 0.5}, (2, 3)),
    case("AlphaDropout", {"rate": 0.5}, (2, 3)),
    case("ActivityRegularization", {"l1": 0.5}, (2, 3)),
    case("BatchNormalization", {}, (2, 3, 4)),
    case("BatchNormalization", {"axis": 1, "epsilon": 1e-5}, (2, 3, 4)),
    case("BatchNormalization", {"center": False}, (2, 4)),
    case("BatchNormalization", {"scale": False, "axis": -2}, (2, 3, 4)),
    case("LayerNormalization", {}, (2, 3, 4)),
    case("LayerNormalization", {"axis": [1, 2], "epsilon": 1e-5}, (2, 3, 4)),
    case("LayerNormalization", {"axis": [2, 1]}, (2, 3, 4)),
    case("LayerNormalization", {"axis": 1, "center": False}, (2, 3, 4)),
    case("LayerNormalization", {"axis": [1, 3], "scale": False}, (2, 3, 4, 5)),
    case("GroupNormalization", {"groups": 2}, (2, 3, 4)),
    case("GroupNormalization", {"groups": -1}, (2, 3, 4)),
    case("GroupNormalization", {"groups": 3, "axis": 1}, (2, 3, 4, 5)),
    case("UnitNormalization", {}, (2, 3, 4)),
    case("UnitNormalization", {"axis": [1, 2]}, (2, 3, 4)),
    case("RMSNormalization", {}, (2, 3, 4)),
    case("RMSNormalization", {"axis": [1, 2], "epsilon": 0.1}, (2, 3, 4)),
    case("Conv1D", {"filters": 4, "kernel_size": 3}, (2, 9, 5)),
    case("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "same", "strides": 2}, (2, 8, 5)),
    case("Conv1D", {"filters": 4, "kernel_size": 2, "padding": "causal", "dilation_rate": 3}, (2, 9, 5)),
    case("Conv1D", {"filters": 4, "kernel_size": 3, "padding": "causal", "strides": 2}, (2, 9, 5)),
    case("Conv1D", {"filters": 6, "kernel_size": 3, "groups": 2, "activation": "relu"}, (2, 9, 4)),
    case("Conv1D", {"filters": 4, "kernel_size": 3, "data_format": "channels_first"}, (2, 5, 9)),
    case("Conv1D", {"filters": 4, "kernel_size": 3, "activation": "softmax", "use_bias": False}, (2, 9, 5)),
    case("Conv2D", {"filters": 4, "kernel_size": [3, 2], "strides": [2, 1], "padding": "same"}, (2, 7, 6, 3)),
    case("Conv2D", {"filters": 4, "kernel_size": 3, "dilation_rate": 2}, (2, 7, 6, 3)),
    case("Conv2D", {"filters": 5, "kernel_size": 3, "data_format": "channels_first"}, (2, 3, 7, 6)),
    case("Conv3D", {"filters": 2, "kernel_size": 2, "strides": [1, 2, 1]}, (1, 3, 4, 3, 2)),
    case("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2}, (2, 9, 3)),
    case("DepthwiseConv2D", {"kernel_size": 3, "padding": "same", "strides": 2}, (2, 7, 6, 3)),
    case("SeparableConv1D", {"filters": 4, "kernel_size": 3, "depth_multiplier": 2}, (2, 9, 3)),
    case("SeparableConv2D", {"filters": 4, "kernel_size": 3, "activation": "tanh"}, (2, 7, 6, 3)),
    *(
        case("Conv1DTranspose", {"filters": 4, "kernel_size": k, "strides": s, "padding": p}, (2, 5, 3))
        for k in (1, 2, 3, 5) for s in (1, 2, 3) for p in ("valid", "same")
    ),
    case("Conv1DTranspose", {"filters": 4, "kernel_size": 3, "strides": 2, "output_padding": 1}, (2, 5, 3)),
    case(
        "Conv1DTranspose",
        {"filters": 4, "kernel_size": 3, "strides": 2, "output_padding": 1, "padding": "same"},
        (2, 5, 3),
    ),
    case("Conv1DTranspose", {"filters": 4, "kernel_size": 3, "dilation_rate": 2}, (2, 5, 3)),
    case("Conv2DTranspose", {"filters": 4, "kernel_size": [3, 2], "strides": 2}, (2, 5, 4, 3)),
    case("Conv2DTranspose", {"filters": 4, "kernel_size": 3, "strides": 2, "padding": "same"}, (2, 5, 4, 3)),
    *(
        case(f"{kind}Pooling1D", {"pool_size": 3, "strides": s, "padding": p}, (2, 8, 3))
        for kind in ("Max", "Average") for s in (None, 1, 2) for p in ("valid", "same")
    ),
    case("MaxPooling1D", {"pool_size": 2, "data_format": "channels_first"}, (2, 3, 8)),
    case("MaxPooling2D", {"pool_size": [2, 3], "padding": "same"}, (2, 7, 8, 3)),
    case("AveragePooling2D", {"pool_size": 2, "padding": "same", "data_format": "channels_first"}, (2, 3, 7, 8)),
    case("MaxPooling3D", {"pool_size": 2}, (1, 4, 5, 4, 2)),
    case("AveragePooling3D", {"pool_size": 2, "padding": "same"}, (1, 4, 5, 4, 2)),
    *(
        case(f"Global{kind}Pooling{rank}D", {"keepdims": keep, "data_format": layout}, (2, *range(3, 4 + rank)))
        for kind in ("Max", "Average") for rank in (1, 2, 3) for keep in (False, True)
        for layout in ("channels_last", "channels_first")
    ),
    case("GlobalAveragePooling1D", {}, (3, 4, 5), mask=(3, 4)),
    case("GlobalAveragePooling1D", {"keepdims": True}, (3, 4, 5), mask=(3, 4)),
    case("Flatten", {}, (2, 3, 4)),
    case("Flatten", {"data_format": "channels_first"}, (2, 3, 4, 5)),
    case("Flatten", {}, (4,)),
    case("Reshape", {"target_shape": [-1, 2]}, (2, 3, 4)),
    case("Reshape", {"target_shape": [12]}, (2, 3, 4)),
    case("Permute", {"dims": [2, 1]}, (2, 3, 4)),
    case("Permute", {"dims": [3, 1, 2]}, (2, 3, 4, 5)),
    case("RepeatVector", {"n": 3}, (2, 4)),
    case("Cropping1D", {"cropping": [1, 2]}, (2, 7, 3)),
    case("Cropping2D", {"cropping": [[1, 0], [2, 1]]}, (2, 5, 6, 3)),
    case("Cropping2D", {"cropping": [1, 2], "data_format": "channels_first"}, (2, 3, 5, 6)),
    case("Cropping3D", {"cropping": 1}, (2, 3, 4, 5, 2)),
    case("ZeroPadding1D", {"padding": [1, 2]}, (2, 4, 3)),
    case("ZeroPadding1D", {"padding": 2, "data_format": "channels_first"}, (2, 4, 3)),
    case("ZeroPadding2D", {"padding": [[1, 0], [2, 1]]}, (2, 3, 4, 3)),
    case("ZeroPadding3D", {"padding": [1, 0, 2]}, (2, 3, 4, 5, 2)),
    case("UpSampling1D", {"size": 3}, (2, 4, 3)),
    case("UpSampling2D", {"size": [2, 3]}, (2, 4, 3, 2)),
    case("UpSampling2D", {"size": [2, 3], "data_format": "channels_first"}, (2, 4, 3, 2)),
    case("UpSampling2D", {"size": [2, 3], "interpolation": "bilinear"}, (2, 4, 3, 2)),
    case("UpSampling3D", {"size": 2}, (1, 2, 3, 2, 2)),
    case("Rescaling", {"scale": 0.5, "offset": 1.0}, (2, 3, 4)),
    case("Rescaling", {"scale": [0.5, 1.0, 2.0, 3.0], "offset": [1.0, 0.0, 2.0, 3.0]}, (2, 3, 4)),
    case("Normalization", {"mean": [1.0, 2.0, 3.0], "variance": [4.0, 1.0, 0.0]}, (2, 3)),
    case("Normalization", {"mean": 1.0, "variance": 2.0, "axis": None}, (2, 3)),
    case("Normalization", {"mean": 1.0, "variance": 2.0, "invert": True}, (2, 3)),
    case("Normalization", {"axis": [1, 2]}, (2, 3, 4)),
    case("Identity", {}, (2, 3)),
    *(case(name, {}, *[(3, 4, 5)] * count) for name in MERGES for count in (2, 3)),
    *(case(name, {}, (3, 4, 5), (3, 4, 5), mask=mask) for name in ELEMENTWISE for mask in TWO_MASKS),
    *(case(name, {}, *[(3, 4, 5)] * 3, mask=[(3, 4)] * 3) for name in MERGES),
    *(case(name, {}, *[(3, 4, 5)] * 3, mask=[(3, 4), None, (3, 4)]) for name in MERGES),
    case("Subtract", {}, (3, 4, 5), (3, 4, 5)),
    case("Add", {}, (3, 5), (3, 4, 5), (3, 1, 5)),
    case("Multiply", {}, (3, 4, 1), (3, 4, 5), mask=[(3, 4), (3, 4)]),
    case("Maximum", {}, (3, 4, 1), (3, 4, 5), mask=[None, (3, 4)]),
    *(case("Concatenate", {"axis": axis}, (3, 4, 5), (3, 4, 5), mask=m) for m in TWO_MASKS for axis in (-1, 1)),
    case("Concatenate", {"axis": 1}, (3, 4, 5), (3, 2, 5)),
    case("Concatenate", {}, (3, 4), (3, 2), (3, 1)),
    case("Dot", {"axes": 1}, (3, 4), (3, 4)),
    case("Dot", {"axes": -1}, (3, 4, 5), (3, 6, 5)),
    case("Dot", {"axes": [1, 2]}, (3, 4, 5), (3, 6, 4)),
    case("Dot", {"axes": [2, 1]}, (3, 4, 5), (3, 5, 6)),
    case("Dot", {"axes": [1, 1]}, (3, 4, 5), (3, 4)),
    case("Dot", {"axes": [1, 2]}, (3, 4), (3, 5, 4)),
    case("Dot", {"axes": 1, "normalize": True}, (3, 4, 5), (3, 4, 6)),
    case("Dot", {"axes": [3, 1]}, (3, 2, 4, 5), (3, 5, 6, 2)),
    case("EinsumDense", {"equation": "abc,cd->abd", "output_shape": [None, 6], "bias_axes": "d"}, (3, 4, 5)),
    case("EinsumDense", {"equation": "ab,bc->ac", "output_shape": 6, "activation": "relu"}, (3, 5)),
    case("EinsumDense", {"equation": "...x,xy->...y", "output_shape": 6, "bias_axes": "y"}, (3, 4, 5)),
    case("EinsumDense", {"equation": "abc,cde->abde", "output_shape": [None, 2, 3], "bias_axes": "de"}, (3, 4, 5)),
    case("EinsumDense", {"equation": "abcd,cde->abe", "output_shape": [None, 6], "bias_axes": "e"}, (3, 4, 2, 5)),
    case("EinsumDense", {"equation": "abc,bd->adc", "output_shape": [6, 5], "bias_axes": "d"}, (3, 4, 5)),
    case("EinsumDense", {"equation": "abc,cd->adb", "output_shape": [6, 4], "activation": "softmax"}, (3, 4, 5)),
    case("Attention", {}, (3, 4, 5), (3, 6, 5)),
    case("Attention", {}, (3, 4, 5), (3, 6, 2), (3, 6, 5)),
    case("Attention", {"use_scale": True}, (3, 4, 5), (3, 6, 5), mask=[(3, 4), (3, 6)]),
    case("Attention", {"score_mode": "concat", "use_scale": True}, (3, 4, 5), (3, 6, 5), mask=[None, (3, 6)]),
    case("Attention", {"score_mode": "concat"}, (3, 4, 5), (3, 6, 5), mask=[(3, 4), None]),
    case("Attention", {}, (3, 6, 5), (3, 6, 5), mask=[(3, 6), (3, 6)], call={"use_causal_mask": True}),
    case("Attention", {}, (3, 4, 5), (3, 6, 5), call={"return_attention_scores": True}),
    case("AdditiveAttention", {}, (3, 4, 5), (3, 6, 5)),
    case("AdditiveAttention", {"use_scale": False}, (3, 4, 5), (3, 6, 5), mask=[(3, 4), (3, 6)]),
    case("AdditiveAttention", {}, (3, 6, 5), (3, 6, 5), call={"use_causal_mask": True}),
    *(
        case("MultiHeadAttention", {"num_heads": 2, "key_dim": 3} | config, (3, 4, 5), (3, 6, 5), spread=True, **more)
        for config, more in [
            ({}, {}),
            ({"value_dim": 4, "output_shape": 7}, {}),
            ({"use_bias": False}, {"mask": [(3, 4), (3, 6)]}),
            ({"dropout": 0.3}, {"mask": [(3, 4), (3, 6)]}),
            ({}, {"mask": [None, (3, 6)], "call": {"use_causal_mask": True}}),
            ({}, {"mask": [(3, 4), None], "call": {"return_attention_scores": True}}),
            ({}, {"call": {"return_attention_scores": True}}),
            ({"sliding_window": 2}, {}),
        ]
    ),
    case("MultiHeadAttention", {"num_heads": 2, "key_dim": 3}, (3, 4, 5), (3, 6, 2), (3, 6, 4), spread=True),
    *(
        case("CategoryEncoding", {"num_tokens": 4, "output_mode": mode}, (3, 5), integers=4)
        for mode in ("multi_hot", "one_hot", "count")
    ),
    case("CategoryEncoding", {"num_tokens": 4, "output_mode": "one_hot"}, (3, 1), integers=4),
    case("IntegerLookup", {"vocabulary": [2, 0, 3]}, (3, 5), integers=5),
    case("IntegerLookup", {"vocabulary": [2, 0, 3], "mask_token": 1}, (3, 5), integers=5),
    case("IntegerLookup", {"vocabulary": [2, 0, 3], "output_mode": "multi_hot"}, (3, 5), integers=5),
    case("IntegerLookup", {"vocabulary": [2, 3], "mask_token": 0, "output_mode": "count"}, (3, 5), integers=5),
    case("IntegerLookup", {"vocabulary": [2, 0, 3], "output_mode": "one_hot"}, (3, 1), integers=5),
    case(
        "IntegerLookup",
        {"vocabulary": [2, 0], "output_mode": "count", "max_tokens": 6, "pad_to_max_tokens": True},
        (3, 5),
        integers=5,
    ),
    *(case("RNN", {"cell": cell, "return_sequences": True}, (3, 4, 5), mask=(3, 4)) for cell in CELLS),
    case("RNN", {"cell": case("StackedRNNCells", {"cells": CELLS}), "go_backwards": True}, (3, 4, 5), mask=(3, 4)),
    *(
        case(
            f"ConvLSTM{rank}D",
            {"filters": 2, "kernel_size": 2, "recurrent_activation": "sigmoid", "return_sequences": True} | geometry,
            (2, 3, *(5, 4, 3)[:rank], 2),
            mask=(2, 3),
        )
        for rank in (1, 2, 3) for geometry in GEOMETRIES
    ),
    case("SpatialDropout2D", {"rate": 0.5}, (2, 3, 4, 5)),
    case("SpatialDropout3D", {"rate": 0.5}, (2, 3, 4, 5, 2)),
]  # fmt: skip


def inputs_of(number: int) -> list[Any]:
    """The inputs of case ``number``."""
    this = CASES[number]
    random = default_rng(number)
    if "integers" in this:
        return [random.integers(0, this["integers"], shape).astype("float32") for shape in this["shapes"]]
    return [random.normal(size=shape).astype("float32") * 2 for shape in this["shapes"]]


def masks_of(number: int) -> list[Any] | None:
    """The masks of case ``number``."""
    this = CASES[number]
    if "mask" not in this:
        return None
    random = default_rng(1000 + number)
    shapes = this["mask"] if isinstance(this["mask"], list) else [this["mask"]]
    return [None if shape is None else random.random(shape) < 0.6 for shape in shapes]


def weights_of(number: int, shapes: list[tuple[int, ...]], names: list[str]) -> list[Any]:
    """Weights of case ``number``: variances positive, everything else around zero."""
    random = default_rng(2000 + number)
    drawn = [random.normal(size=shape).astype("float32") for shape in shapes]
    return [
        abs(array) + 0.1 if "variance" in name or "count" in name else array
        for array, name in zip(drawn, names, strict=True)
    ]


def ready(layer: Any, number: int) -> tuple[list[Any], dict[str, Any]]:
    """Build the layer on the case's inputs with its weights; the arguments and keywords of the call."""
    case = CASES[number]
    inputs = inputs_of(number)
    single = inputs[0] if len(inputs) == 1 else inputs
    layer.build(single.shape if len(inputs) == 1 else [x.shape for x in inputs])
    weights = layer.weights
    layer.set_weights(weights_of(number, [w.shape for w in weights], [w.name for w in weights]))
    call = dict(case.get("call", {}))
    masks = masks_of(number)
    if masks is not None and case.get("spread"):
        call |= dict(zip(("query_mask", "value_mask"), masks, strict=True))
    elif masks is not None:
        call["mask"] = masks[0] if len(masks) == 1 else masks
    return inputs if case.get("spread") else [single], call
