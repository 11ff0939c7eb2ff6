# SPDX-License-Identifier: MIT
"""``unrolled.ops`` against ``keras.ops`` on arrays, and operators on symbolic tensors."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from unrolled import Input, Model, Sequential, layers, ops
from unrolled.layers.registry import operation_classes

keras_ops = pytest.importorskip("keras").ops

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 4, 6)).astype(np.float32)
Y = RNG.normal(size=(3, 4, 6)).astype(np.float32)
IDS = RNG.integers(0, 3, size=(3, 4)).astype(np.int32)

TWO = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "true_divide",
    "maximum",
    "minimum",
    "equal",
    "not_equal",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "logical_and",
    "logical_or",
]
ONE = [
    "abs",
    "absolute",
    "celu",
    "elu",
    "exp",
    "gelu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "logical_not",
    "negative",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "square",
    "squareplus",
    "stop_gradient",
    "swish",
    "tanh",
    "tanh_shrink",
    "ones_like",
    "zeros_like",
    "convert_to_tensor",
    "softmax",
    "log_softmax",
    "sparsemax",
    "glu",
    "transpose",
    "flip",
    "squeeze",
]
REDUCTIONS = ["all", "amax", "amin", "any", "max", "mean", "min", "sum"]
MORE = [
    ("cast", (X, "int32"), {}),
    ("clip", (X, -0.5, 0.5), {}),
    ("concatenate", ([X, Y],), {}),
    ("concatenate", ([X, Y],), {"axis": -1}),
    ("expand_dims", (X, 0), {}),
    ("expand_dims", (X, -1), {}),
    ("get_item", (X, 1), {}),
    ("get_item", (X, (slice(None), -1)), {}),
    ("get_item", (X, (0, slice(1, 3))), {}),
    ("matmul", (X, np.swapaxes(Y, 1, 2)), {}),
    ("matmul", (X[0], Y[0].T), {}),
    ("max", (X,), {"axis": 1, "initial": 0.5}),
    ("power", (X, 3), {}),
    ("repeat", (X, 2), {}),
    ("repeat", (X, 2), {"axis": 0}),
    ("reshape", (X, (-1,)), {}),
    ("reshape", (X, (6, 12)), {}),
    ("softmax", (X,), {"axis": 0}),
    ("squeeze", (X[:1],), {"axis": 0}),
    ("stack", ([X, Y],), {}),
    ("stack", ([X, Y],), {"axis": -1}),
    ("sum", (IDS,), {"axis": 0}),
    ("swapaxes", (X, 0, 2), {}),
    ("threshold", (X, 0.1, -1.0), {}),
    ("tile", (X, 2), {}),
    ("tile", (X[0], (2, 1, 3)), {}),
    ("transpose", (X, (1, 0, 2)), {}),
    ("where", (X > 0, X, Y), {}),
    ("where", (X > 0, X, 0.0), {}),
]


def compare(name, *args, **kwargs):
    found = getattr(ops, name)(*args, **kwargs)
    expected = np.asarray(getattr(keras_ops, name)(*args, **kwargs))
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("name", ops.__all__)
def test_the_signature_is_that_of_keras(name):
    found, expected = [
        [(p.name, p.default, p.kind) for p in inspect.signature(getattr(module, name)).parameters.values()]
        for module in (ops, keras_ops)
    ]
    assert found == expected


def test_every_operation_of_graphs_can_be_called():
    # Under these names Keras has activations, aliases of other operations, or something else.
    aliases = {"Identity", "Mish", "ReLU", "ReLU6"}
    missing = {name.replace("_", "").lower() for name in operation_classes().keys() - aliases} - {
        name.replace("_", "") for name in ops.__all__
    }
    assert not missing


@pytest.mark.parametrize("name", TWO)
def test_operations_of_two_arrays_broadcast_as_in_keras(name):
    for second in (Y, Y[0], Y[:, :1], 2.0, X):
        compare(name, X, second)
        compare(name, second, X)


@pytest.mark.parametrize("name", ONE)
def test_operations_of_one_array_are_those_of_keras(name):
    compare(name, X)
    compare(name, X[0])


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2)])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_are_those_of_keras(name, axis):
    compare(name, X, axis=axis)
    compare(name, X, axis=axis, keepdims=True)


@pytest.mark.parametrize(("name", "args", "kwargs"), MORE)
def test_operations_with_options_are_those_of_keras(name, args, kwargs):
    compare(name, *args, **kwargs)


def test_an_axis_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="axis 3 does not exist in an array of rank 3"):
        ops.sum(X, axis=3)


def test_operators_on_symbolic_tensors_give_the_numbers_of_numpy():
    constant = np.arange(6, dtype=np.float32)
    expressions = {
        "x + 1": lambda x, y: x + 1,
        "1 / x": lambda x, y: 1 / x,
        "array - x": lambda x, y: constant - x,
        "x * array": lambda x, y: x * constant,
        "x ** 2": lambda x, y: x**2,
        "-x": lambda x, y: -x,
        "abs(x)": lambda x, y: abs(x),
        "x[:, -1]": lambda x, y: x[:, -1],
        "x[..., 1:]": lambda x, y: x[..., 1:],
        "x < y": lambda x, y: x < y,
        "x >= 0": lambda x, y: x >= 0,
        "~(x > 0) | (y > 0)": lambda x, y: ~(x > 0) | (y > 0),
        "(x > 0) & (y > 0)": lambda x, y: (x > 0) & (y > 0),
        "x - y": lambda x, y: x - y,
    }
    for text, expression in expressions.items():
        x, y = Input((4, 6)), Input((4, 6))
        found = Model([x, y], [expression(x, y), x, y]).predict([X, Y])[0]
        np.testing.assert_allclose(found, expression(X, Y), rtol=2e-6, err_msg=text)
    x, y = Input((4, 6)), Input((6, 4))
    found = Model([x, y], x @ y).predict([X, np.swapaxes(Y, 1, 2)])
    np.testing.assert_allclose(found, X @ np.swapaxes(Y, 1, 2), rtol=2e-6, atol=2e-6)


def test_a_symbolic_tensor_is_neither_true_nor_iterable_and_says_so():
    x = Input((4, 6))
    with pytest.raises(TypeError, match=r"use unrolled\.ops\.where"):
        bool(x > 0)
    with pytest.raises(TypeError, match="index it"):
        list(x)


def test_eager_operations_use_up_no_automatic_name():
    before = (Input((2,)) + 1).name
    ops.add(X, Y)
    after = (Input((2,)) + 1).name
    number = int(before.removeprefix("add").removeprefix("_") or 0)
    assert after == f"add_{number + 1}"


def test_a_model_can_be_made_of_the_insides_of_a_sequential():
    model = Sequential(
        [layers.LSTM(5, return_sequences=True, input_shape=(4, 6), name="lstm"), layers.Dense(2)]
    )
    insides = Model(model.input, model.get_layer("lstm").output)
    whole = Model(model.inputs, [model.get_layer("lstm").output, *model.outputs])
    hidden, out = whole.predict(X)
    assert np.array_equal(out, model.predict(X))
    assert np.array_equal(hidden, insides.predict(X))
    assert np.array_equal(out, model.layers[1](hidden))
    assert model.layers[1].input is model.layers[0].output
    assert model.output.shape == model.output_shape == (None, 4, 2)
    model.layers[0].set_weights([np.zeros_like(w) for w in model.layers[0].get_weights()])
    assert not insides.predict(X).any()


def test_a_sequential_without_a_declared_input_has_its_tensors_after_build():
    model = Sequential([layers.GRU(5), layers.Dense(2)])
    with pytest.raises(AttributeError, match="has no output yet"):
        _ = model.layers[0].output
    with pytest.raises(ValueError, match="has not been built"):
        _ = model.output
    model.build((None, 4, 6))
    assert Model(model.input, model.layers[0].output).predict(X).shape == (3, 5)


def test_a_nested_sequential_and_its_copy_have_their_own_tensors():
    import copy
    import pickle

    inner = Sequential([layers.Dense(3, input_shape=(4, 6), name="inner_dense")], name="inner")
    model = Sequential([inner, layers.LSTM(2, name="lstm")])
    for other in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        hidden = Model(other.input, other.get_layer("lstm").input).predict(X)
        first = other.get_layer("inner")
        assert np.array_equal(hidden, Model(first.input, first.get_layer("inner_dense").output).predict(X))
        assert np.array_equal(other.get_layer("lstm")(hidden), model.predict(X))


def test_a_layer_taken_away_takes_its_call_with_it():
    model = Sequential([layers.Dense(3, input_shape=(6,)), layers.Dense(2)])
    removed = model.pop()
    assert model.output is model.layers[0].output
    with pytest.raises(AttributeError, match="has no output yet"):
        _ = removed.output
    model.add(layers.Dense(4))
    assert model.output_shape == (None, 4)
