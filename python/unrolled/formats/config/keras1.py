# SPDX-License-Identifier: MIT
"""Keras 1 class names and config keys, into Keras 2's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unrolled.formats.config.keras2 import drop, rename
from unrolled.spec import LayerSpec, facts_of

CLASSES: Mapping[str, str] = {
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution3D": "Conv3D",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "Deconvolution2D": "Conv2DTranspose",
    "SeparableConvolution2D": "SeparableConv2D",
    "TimeDistributedDense": "Dense",
}

_RECURRENT = ("SimpleRNN", "LSTM", "GRU")
_DENSE = ("Dense",)
_CONV = ("Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "SeparableConv2D", "ConvLSTM2D")
_POOL = (
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
)
_DROPOUT = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout")


def _table(classes: tuple[str, ...], *pairs: tuple[str, str]) -> tuple[tuple[str, str, str], ...]:
    return tuple((class_name, first, second) for class_name in classes for first, second in pairs)


# Class, old key, new key (keras 2.0 legacy/interfaces.py).
RENAMED: tuple[tuple[str, str, str], ...] = (
    *_table(
        (*_RECURRENT, *_DENSE),
        ("output_dim", "units"),
        ("init", "kernel_initializer"),
        ("W_regularizer", "kernel_regularizer"),
        ("b_regularizer", "bias_regularizer"),
        ("W_constraint", "kernel_constraint"),
        ("b_constraint", "bias_constraint"),
        ("bias", "use_bias"),
    ),
    *_table(
        (*_RECURRENT, "ConvLSTM2D"),
        ("inner_activation", "recurrent_activation"),
        ("inner_init", "recurrent_initializer"),
        ("U_regularizer", "recurrent_regularizer"),
        ("dropout_W", "dropout"),
        ("dropout_U", "recurrent_dropout"),
    ),
    *_table(
        _CONV,
        ("nb_filter", "filters"),
        ("init", "kernel_initializer"),
        ("border_mode", "padding"),
        ("subsample_length", "strides"),
        ("subsample", "strides"),
        ("atrous_rate", "dilation_rate"),
        ("dim_ordering", "data_format"),
        ("bias", "use_bias"),
        ("W_regularizer", "kernel_regularizer"),
        ("b_regularizer", "bias_regularizer"),
        ("W_constraint", "kernel_constraint"),
        ("b_constraint", "bias_constraint"),
    ),
    *_table(
        _POOL,
        ("pool_length", "pool_size"),
        ("stride", "strides"),
        ("border_mode", "padding"),
        ("dim_ordering", "data_format"),
    ),
    *_table(_DROPOUT, ("p", "rate"), ("dim_ordering", "data_format")),
    ("GaussianNoise", "sigma", "stddev"),
    ("InputLayer", "input_dtype", "dtype"),
    ("UpSampling1D", "length", "size"),
    *_table(
        (
            "UpSampling2D",
            "UpSampling3D",
            "ZeroPadding2D",
            "ZeroPadding3D",
            "Cropping2D",
            "Cropping3D",
            "GlobalMaxPooling2D",
            "GlobalAveragePooling2D",
        ),
        ("dim_ordering", "data_format"),
    ),
    ("Embedding", "init", "embeddings_initializer"),
    ("Embedding", "W_regularizer", "embeddings_regularizer"),
    ("Embedding", "W_constraint", "embeddings_constraint"),
    ("BatchNormalization", "beta_init", "beta_initializer"),
    ("BatchNormalization", "gamma_init", "gamma_initializer"),
    ("PReLU", "init", "alpha_initializer"),
)

# Class ("*": every one), key, why nothing is lost.
DROPPED: tuple[tuple[str, str, str], ...] = (
    ("*", "input_dtype", "the input layer has the dtype"),
    *_table(
        _RECURRENT,
        ("consume_less", "chose between equal ways to compute"),
        ("forget_bias_init", "where training started"),
        ("input_dim", "the weights have it"),
        ("input_length", "repeats the input shape's length"),
    ),
    *_table(_DENSE, ("input_dim", "the weights have it"), ("input_length", "repeats the input's length")),
    *_table(
        ("Conv1D",),
        ("input_dim", "the weights have it"),
        ("input_length", "repeats the input shape's length"),
    ),
    ("ConvLSTM2D", "forget_bias_init", "where training started"),
    ("Embedding", "weights", "where training started"),
    ("Embedding", "dropout", "active in training only"),
    ("PReLU", "weights", "where training started"),
    ("Dense", "weights", "where training started"),
)

_DATA_FORMATS = {"tf": "channels_last", "th": "channels_first"}


def normalise(spec: LayerSpec) -> None:
    """Change a layer of Keras 1 in place, into the words of Keras 2."""
    config = spec.config
    _kernel_size(spec)
    spec.class_name = CLASSES.get(spec.class_name, spec.class_name)
    rename(spec, RENAMED)
    drop(spec, DROPPED)
    if isinstance(config.get("data_format"), str):
        config["data_format"] = _DATA_FORMATS.get(config["data_format"], config["data_format"])
    if spec.class_name == "BatchNormalization" and config.get("mode") == 0:
        # Mode 0 is what later versions do; any other stays a key, which the layer refuses.
        del config["mode"]
    if facts_of(spec.class_name).has_reset_after:
        config.setdefault("reset_after", False)
    if spec.class_name.startswith("SpatialDropout") and config.get("data_format") == "default":
        del config["data_format"]


def _kernel_size(spec: LayerSpec) -> None:
    """``filter_length``, or ``nb_row`` and ``nb_col``, into ``kernel_size``."""
    config = spec.config
    for keys in (
        ("filter_length",),
        ("kernel_dim1", "kernel_dim2", "kernel_dim3"),
        ("nb_row", "nb_col"),
    ):
        if all(key in config for key in keys):
            sizes: list[Any] = [config.pop(key) for key in keys]
            config["kernel_size"] = sizes
            return
