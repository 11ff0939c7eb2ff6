# SPDX-License-Identifier: MIT
"""Keras's layers, for inference. One file a family; see ``registry`` for what files may name."""

from __future__ import annotations

from unrolled.layers import ops as operations
from unrolled.layers.activation_layers import ELU, LeakyReLU, PReLU, ReLU, Softmax, ThresholdedReLU
from unrolled.layers.attention import AdditiveAttention, Attention
from unrolled.layers.base import Layer
from unrolled.layers.concatenation import Concatenate
from unrolled.layers.convolution.convolution import (
    Conv1D,
    Conv2D,
    Conv3D,
    Convolution1D,
    Convolution2D,
    Convolution3D,
)
from unrolled.layers.convolution.depthwise import (
    DepthwiseConv1D,
    DepthwiseConv2D,
    SeparableConv1D,
    SeparableConv2D,
)
from unrolled.layers.convolution.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalAvgPool3D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPool3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from unrolled.layers.convolution.transposed import Conv1DTranspose, Conv2DTranspose
from unrolled.layers.core import Activation, Dense, Identity, Masking
from unrolled.layers.dot import Dot
from unrolled.layers.einsum import EinsumDense
from unrolled.layers.embedding import Embedding
from unrolled.layers.input_layer import Input, InputLayer
from unrolled.layers.lookup import CategoryEncoding, IntegerLookup
from unrolled.layers.merging import Add, Average, Maximum, Minimum, Multiply, Subtract
from unrolled.layers.multi_head_attention import MultiHeadAttention
from unrolled.layers.normalization import BatchNormalization, GroupNormalization, LayerNormalization
from unrolled.layers.preprocessing import Normalization, Rescaling
from unrolled.layers.regularization import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from unrolled.layers.reshaping import Flatten, Permute, RepeatVector, Reshape
from unrolled.layers.resizing import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from unrolled.layers.rnn.cells import GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells
from unrolled.layers.rnn.conv_recurrent import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from unrolled.layers.rnn.recurrent import GRU, LSTM, RNN, SimpleRNN
from unrolled.layers.rnn.wrappers import Bidirectional, TimeDistributed
from unrolled.layers.symbolic import KerasTensor
from unrolled.layers.text.lookup import StringLookup
from unrolled.layers.text.vectorization import TextVectorization
from unrolled.layers.unit_normalization import RMSNormalization, UnitNormalization

__all__ = [
    "ELU",
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "ActivityRegularization",
    "Add",
    "AdditiveAttention",
    "AlphaDropout",
    "Attention",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "AveragePooling3D",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNormalization",
    "Bidirectional",
    "CategoryEncoding",
    "Concatenate",
    "Conv1D",
    "Conv1DTranspose",
    "Conv2D",
    "Conv2DTranspose",
    "Conv3D",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "Convolution1D",
    "Convolution2D",
    "Convolution3D",
    "Cropping1D",
    "Cropping2D",
    "Cropping3D",
    "Dense",
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "Dot",
    "Dropout",
    "EinsumDense",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GaussianDropout",
    "GaussianNoise",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalAveragePooling3D",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalAvgPool3D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GlobalMaxPool3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "GroupNormalization",
    "Identity",
    "Input",
    "InputLayer",
    "IntegerLookup",
    "KerasTensor",
    "LSTMCell",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "Masking",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "MaxPooling1D",
    "MaxPooling2D",
    "MaxPooling3D",
    "Maximum",
    "Minimum",
    "MultiHeadAttention",
    "Multiply",
    "Normalization",
    "PReLU",
    "Permute",
    "RMSNormalization",
    "ReLU",
    "RepeatVector",
    "Rescaling",
    "Reshape",
    "SeparableConv1D",
    "SeparableConv2D",
    "SimpleRNN",
    "SimpleRNNCell",
    "Softmax",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "StackedRNNCells",
    "StringLookup",
    "Subtract",
    "TextVectorization",
    "ThresholdedReLU",
    "TimeDistributed",
    "UnitNormalization",
    "UpSampling1D",
    "UpSampling2D",
    "UpSampling3D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "ZeroPadding3D",
    "operations",
]

_NOT_HERE = {
    "Lambda": "the code in a file is never run: give your own function for it, "
    "load_model(path, custom_objects={name of the layer: function})",
}


def __getattr__(name: str) -> object:
    reason = (
        f": {_NOT_HERE[name]}"
        if name in _NOT_HERE
        else "; docs/layers.md lists the layers that are supported"
    )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{reason}")
