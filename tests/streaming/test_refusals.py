# SPDX-License-Identifier: MIT
"""What a live stream cannot do is refused when the stream is made, naming the layer and saying why."""

from __future__ import annotations

import numpy as np
import pytest

from unrolled import Input, Model, Sequential, layers
from unrolled.layers import ops
from unrolled.streaming import StreamError

SHAPE = (8, 4)


def chain(*stack, shape=SHAPE):
    return Sequential([Input(shape), *stack])


def graph(build, shape=SHAPE):
    x = Input(shape)
    return Model(x, build(x))


def encoder_decoder():
    x = Input(SHAPE)
    y, h, c = layers.LSTM(3, return_sequences=True, return_state=True)(x)
    return Model(x, layers.LSTM(3, name="bad")(y, initial_state=[h, c]))


REFUSED = {
    "bidirectional": (lambda: chain(layers.Bidirectional(layers.GRU(2), name="bad")), "from its end"),
    "go_backwards": (lambda: chain(layers.LSTM(2, go_backwards=True, name="bad")), "last to first"),
    "time_major": (lambda: chain(layers.LSTM(2, time_major=True, name="bad")), "axis 0 as time"),
    "initial_state": (encoder_decoder, "initial state from elsewhere"),
    "flatten": (lambda: chain(layers.GRU(2, return_sequences=True), layers.Flatten(name="bad")), "one row"),
    "reshape": (lambda: chain(layers.Reshape((4, 8), name="bad")), "between timesteps"),
    "reshape_unknown": (lambda: chain(layers.Reshape((8, -1), name="bad")), "between timesteps"),
    "permute": (lambda: chain(layers.Permute((2, 1), name="bad")), "between timesteps"),
    "cropping": (lambda: chain(layers.Cropping1D(1, name="bad")), "between timesteps"),
    "padding": (lambda: chain(layers.ZeroPadding1D(1, name="bad")), "between timesteps"),
    "up_sampling": (lambda: chain(layers.UpSampling1D(2, name="bad")), "between timesteps"),
    "same_convolution": (lambda: chain(layers.Conv1D(2, 3, padding="same", name="bad")), "later timesteps"),
    "valid_convolution": (lambda: chain(layers.Conv1D(2, 3, name="bad")), "first timesteps"),
    "strided_convolution": (
        lambda: chain(layers.Conv1D(2, 3, strides=2, padding="causal", name="bad")),
        "fewer timesteps",
    ),
    "channels_first": (
        lambda: chain(layers.Conv1D(2, 1, data_format="channels_first", name="bad")),
        "channels_first",
    ),
    "depthwise": (lambda: chain(layers.DepthwiseConv1D(3, padding="same", name="bad")), "later timesteps"),
    "separable": (lambda: chain(layers.SeparableConv1D(2, 3, name="bad")), "first timesteps"),
    "transposed": (lambda: chain(layers.Conv1DTranspose(2, 3, name="bad")), "spreads every timestep"),
    "convolution_2d": (lambda: chain(layers.Conv2D(2, 1, name="bad"), shape=(8, 6, 3)), "over the time axis"),
    "pooling": (lambda: chain(layers.MaxPooling1D(2, name="bad")), "fewer timesteps"),
    "average_pooling": (lambda: chain(layers.AveragePooling1D(2, name="bad")), "fewer timesteps"),
    "global_2d": (
        lambda: chain(layers.GlobalMaxPooling2D(name="bad"), shape=(8, 6, 3)),
        "over the time axis",
    ),
    "global_channels_first": (
        lambda: chain(layers.GlobalMaxPooling1D(data_format="channels_first", name="bad")),
        "channels_first",
    ),
    "batch_normalization": (
        lambda: chain(layers.BatchNormalization(axis=1, name="bad")),
        "for every timestep",
    ),
    "layer_normalization": (lambda: chain(layers.LayerNormalization(axis=[1, 2], name="bad")), "time axis"),
    "rms_normalization": (lambda: chain(layers.RMSNormalization(axis=[1, 2], name="bad")), "time axis"),
    "unit_normalization": (lambda: chain(layers.UnitNormalization(axis=1, name="bad")), "time axis"),
    "group_normalization": (lambda: chain(layers.GroupNormalization(2, name="bad")), "time axis"),
    "normalization": (lambda: chain(layers.Normalization(axis=[1, 2], name="bad")), "for every timestep"),
    "rescaling": (
        lambda: chain(layers.Rescaling(np.ones((8, 1)).tolist(), name="bad")),
        "for every timestep",
    ),
    "prelu": (lambda: chain(layers.PReLU(name="bad")), "for every timestep"),
    "softmax": (lambda: chain(layers.Softmax(axis=1, name="bad")), "softmax along the time axis"),
    "activation": (
        lambda: chain(layers.Dense(3, activation=layers.Softmax(axis=-2), name="bad")),
        "softmax along the time axis",
    ),
    "einsum": (lambda: chain(layers.EinsumDense("abc,bd->adc", (3, 4), name="bad")), "time axis"),
    "einsum_bias": (
        lambda: chain(layers.EinsumDense("abc,cd->abd", (8, 4), bias_axes="bd", name="bad")),
        "bias for every timestep",
    ),
    "concatenate": (lambda: graph(lambda x: layers.Concatenate(axis=1, name="bad")([x, x])), "time axis"),
    "dot": (lambda: graph(lambda x: layers.Dot(axes=2, name="bad")([x, x])), "with every other"),
    "attention": (lambda: graph(lambda x: layers.Attention(name="bad")([x, x])), "with every other"),
    "additive_attention": (
        lambda: graph(lambda x: layers.AdditiveAttention(name="bad")([x, x])),
        "with every other",
    ),
    "multi_head_attention": (
        lambda: graph(lambda x: layers.MultiHeadAttention(1, 2, name="bad")(x, x)),
        "with every other",
    ),
    "mixed": (
        lambda: graph(lambda x: layers.Add(name="bad")([x, layers.GlobalMaxPooling1D(keepdims=True)(x)])),
        "not one for each of them",
    ),
    "different_ranks": (
        lambda: graph(lambda x: layers.Add(name="bad")([x, layers.Reshape((-1, 1, 4))(x)]), shape=(1, 4)),
        "different ranks",
    ),
    "op_constant": (
        lambda: graph(lambda x: ops.AddOperation(name="bad")(x, np.ones((8, 1), np.float32))),
        "constant for every timestep",
    ),
    "op_axis": (lambda: graph(lambda x: ops.MeanOperation(axis=1, name="bad")(x)), "along the time axis"),
    "op_softmax": (lambda: graph(lambda x: ops.SoftmaxOperation(axis=1, name="bad")(x)), "time axis"),
    "op_get_item": (
        lambda: graph(lambda x: ops.GetItemOperation(name="bad")(x, (slice(None), -1))),
        "some of the timesteps",
    ),
    "op_flip": (lambda: graph(lambda x: ops.FlipOperation(axis=1, name="bad")(x)), "along the time axis"),
    "op_transpose": (
        lambda: graph(lambda x: ops.TransposeOperation(axes=[0, 2, 1], name="bad")(x)),
        "moves the time axis",
    ),
    "op_matmul": (
        lambda: graph(lambda x: ops.MatmulOperation(name="bad")(x, x), shape=(4, 4)),
        "every other",
    ),
    "op_reshape": (lambda: graph(lambda x: ops.ReshapeOperation((-1, 32), name="bad")(x)), "not known"),
    "op_mixed": (
        lambda: graph(lambda x: ops.AddOperation(name="bad")(x, layers.GlobalMaxPooling1D(keepdims=True)(x))),
        "not one for each of them",
    ),
    "encoding": (
        lambda: chain(layers.IntegerLookup(vocabulary=[1, 2], output_mode="count", name="bad"), shape=(4,)),
        "all timesteps together",
    ),
    "no_time": (lambda: chain(layers.Dense(3, name="bad"), shape=(4,)), "no time axis"),
    "stateful_decoder": (
        lambda: chain(layers.GRU(2), layers.RepeatVector(3), layers.GRU(2, stateful=True, name="bad")),
        "stateful",
    ),
    "stateful_inner": (
        lambda: chain(layers.TimeDistributed(layers.GRU(2, stateful=True, name="bad")), shape=(8, 3, 4)),
        "stateful",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_error_names_the_layer_and_the_reason(name):
    build, reason = REFUSED[name]
    model = build()
    for make in (model.stream, model.stream_pool):
        with pytest.raises(StreamError, match=f"model {model.name!r} cannot run as a live stream") as caught:
            make()
        assert "'bad'" in str(caught.value)
        assert reason in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_size_that_is_not_known_is_refused():
    model = graph(lambda x: layers.TimeDistributed(layers.GlobalMaxPooling1D())(x), shape=(None, None, 3))
    with pytest.raises(StreamError, match="every size after the timesteps known"):
        model.stream()


def test_an_input_without_time_is_refused():
    with pytest.raises(StreamError, match=r"\(batch, timesteps"):
        Model(x := Input(()), layers.Identity()(x)).stream()


def test_every_layer_says_what_a_stream_may_do():
    """A new layer must decide: its own rule, or a reason why it is refused."""
    default = layers.Layer.stream_obstacle
    undecided = [
        cls.__name__
        for cls in vars(layers).values()
        if isinstance(cls, type)
        and issubclass(cls, layers.Layer)
        and cls is not layers.Layer
        and cls.stream_obstacle == default
        and cls.find_stream_obstacle is layers.Layer.find_stream_obstacle
        and cls.lower_stream is layers.Layer.lower_stream
        and not cls.__name__.endswith(("Cell", "Cells"))
        and cls.__name__ != "InputLayer"
    ]
    assert undecided == []
