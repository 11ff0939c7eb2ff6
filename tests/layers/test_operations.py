# SPDX-License-Identifier: MIT
"""Operations of Keras 3 graphs, on arrays and inside graphs, against NumPy."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import unrolled
from unrolled import Input, Model, layers
from unrolled.errors import ConfigError, Problem
from unrolled.layers import building, registry
from unrolled.semantics import KERAS_3
from unrolled.spec import LayerSpec, UnsupportedValue

OPERATIONS = registry.operation_classes()
X = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(3, 4, 6)).astype(np.float32)
IDS = np.random.default_rng(2).integers(0, 3, (3, 4))


def softmax(x: Any, axis: int) -> Any:
    exponentials = np.exp(x - x.max(axis=axis, keepdims=True))
    return exponentials / exponentials.sum(axis=axis, keepdims=True)


# Name, config, arguments, what NumPy gives for them.
CASES: list[tuple[str, dict[str, Any], tuple[Any, ...], Callable[..., Any]]] = [
    ("Add", {}, (X, Y), np.add),
    ("Add", {}, (IDS, 2), np.add),
    ("Add", {}, (IDS, 0.5), np.add),
    ("Subtract", {}, (1.0, X), np.subtract),
    ("Multiply", {}, (X, 2.0), np.multiply),
    ("Multiply", {}, (X, np.arange(6, dtype=np.float32)), np.multiply),
    ("Divide", {}, (IDS, 2), np.divide),
    ("TrueDivide", {}, (X, 3), np.divide),
    ("Maximum", {}, (X, 0.0), np.maximum),
    ("Minimum", {}, (X, Y), np.minimum),
    ("NotEqual", {}, (IDS, 0), np.not_equal),
    ("Equal", {}, (IDS, 1.0), np.equal),
    ("Greater", {}, (X, Y), np.greater),
    ("GreaterEqual", {}, (X, 0), np.greater_equal),
    ("Less", {}, (X, 0.5), np.less),
    ("LessEqual", {}, (X, X), np.less_equal),
    ("LogicalAnd", {}, (X > 0, Y > 0), np.logical_and),
    ("LogicalOr", {}, (IDS, IDS > 1), np.logical_or),
    ("LogicalNot", {}, (IDS,), np.logical_not),
    ("Where", {}, (X > 0, X, 0.0), np.where),
    ("Matmul", {}, (X, Y.transpose(0, 2, 1)), np.matmul),
    ("Matmul", {"transpose_b": True}, (X, Y), lambda x, y: x @ y.transpose(0, 2, 1)),
    ("Power", {}, (X, 1), np.power),
    ("Power", {}, (X, 3.0), np.power),
    ("Power", {}, (IDS, 2), np.power),
    ("Negative", {}, (X,), np.negative),
    ("Negative", {}, (IDS,), np.negative),
    ("Absolute", {}, (X,), np.abs),
    ("Abs", {}, (X,), np.abs),
    ("Square", {}, (X,), np.square),
    ("Clip", {"x_min": -0.5, "x_max": 0.5}, (X,), lambda x: np.clip(x, -0.5, 0.5)),
    ("StopGradient", {}, (X,), lambda x: x),
    ("Identity", {}, (X,), lambda x: x),
    ("ConvertToTensor", {"dtype": None, "sparse": None, "ragged": None}, (X,), lambda x: x),
    ("Exp", {}, (X,), np.exp),
    ("Tanh", {}, (X,), np.tanh),
    ("Relu", {}, (X,), lambda x: np.maximum(x, 0)),
    ("ReLU", {"negative_slope": 0.5}, (X,), lambda x: np.where(x > 0, x, 0.5 * x)),
    ("LeakyRelu", {}, (X,), lambda x: np.where(x > 0, x, 0.2 * x)),
    ("Elu", {"alpha": 0.5}, (X,), lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    ("Celu", {}, (X,), lambda x: np.where(x > 0, x, np.expm1(x))),
    ("SoftShrink", {}, (X,), lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0)),
    ("HardShrink", {"threshold": 1.0}, (X,), lambda x: np.where(np.abs(x) > 1, x, 0)),
    ("Squareplus", {}, (X,), lambda x: (x + np.sqrt(x * x + 4)) / 2),
    ("Threshold", {"threshold": 0.5, "default_value": -1.0}, (X,), lambda x: np.where(x > 0.5, x, -1)),
    ("Gelu", {}, (X,), lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
    ("Softmax", {"axis": 1}, (X,), lambda x: softmax(x, 1)),
    ("LogSoftmax", {}, (X,), lambda x: np.log(softmax(x, -1))),
    ("Glu", {}, (X,), lambda x: x[..., :3] / (1 + np.exp(-x[..., 3:]))),
    ("Cast", {"dtype": "int32"}, (X,), lambda x: x.astype(np.int32)),
    ("Cast", {"dtype": "bool"}, (IDS,), lambda x: x != 0),
    ("Cast", {"dtype": "float16"}, (IDS,), lambda x: x.astype(np.float32)),
    ("OnesLike", {}, (X,), np.ones_like),
    ("OnesLike", {"dtype": "bool"}, (X,), lambda x: np.ones_like(x, bool)),
    ("ZerosLike", {}, (X,), np.zeros_like),
    ("ZerosLike", {"dtype": "int32"}, (X,), lambda x: np.zeros_like(x, np.int32)),
    ("Any", {"axis": -1}, (X > 1,), lambda x: x.any(-1)),
    ("Any", {"axis": [2]}, (IDS[..., None],), lambda x: x.any(-1)),
    ("All", {"axis": 1, "keepdims": True}, (X > -1,), lambda x: x.all(1, keepdims=True)),
    ("Mean", {"axis": [1, 2]}, (X,), lambda x: x.mean((1, 2))),
    ("Mean", {"axis": 1, "keepdims": True}, (IDS,), lambda x: x.mean(1, keepdims=True)),
    ("Sum", {"axis": -2}, (X,), lambda x: x.sum(-2)),
    ("Sum", {"axis": 1}, (IDS,), lambda x: x.sum(1)),
    ("Max", {"axis": 1}, (X,), lambda x: x.max(1)),
    ("Min", {"axis": 1, "initial": -0.5}, (X,), lambda x: np.minimum(x.min(1), -0.5)),
    ("Amax", {"axis": 2}, (X,), lambda x: x.max(2)),
    ("Amin", {"axis": 2}, (X,), lambda x: x.min(2)),
    ("ExpandDims", {"axis": -1}, (X,), lambda x: x[..., None]),
    ("ExpandDims", {"axis": 1}, (IDS,), lambda x: x[:, None]),
    ("Squeeze", {}, (X[:, :1],), lambda x: x[:, 0]),
    ("Squeeze", {"axis": 1}, (X[:, :1],), lambda x: x[:, 0]),
    ("Concatenate", {"axis": -1}, ([X, Y],), lambda xs: np.concatenate(xs, -1)),
    ("Concatenate", {"axis": 1}, ([X > 0, Y > 0],), lambda xs: np.concatenate(xs, 1)),
    ("Stack", {"axis": 1}, ([X, Y],), lambda xs: np.stack(xs, 1)),
    ("Stack", {"axis": -1}, ([X, Y],), lambda xs: np.stack(xs, -1)),
    ("Reshape", {"newshape": [-1, 24]}, (X,), lambda x: x.reshape(-1, 24)),
    ("Reshape", {"newshape": [None, 2, -1]}, (X,), lambda x: x.reshape(3, 2, -1)),
    ("Transpose", {"axes": [0, 2, 1]}, (X,), lambda x: x.transpose(0, 2, 1)),
    ("Swapaxes", {"axis1": 1, "axis2": -1}, (X,), lambda x: x.swapaxes(1, -1)),
    ("Flip", {"axis": 1}, (X,), lambda x: x[:, ::-1]),
    ("Tile", {"repeats": [1, 2, 1]}, (X,), lambda x: np.tile(x, (1, 2, 1))),
    ("Repeat", {"repeats": 2, "axis": 1}, (X,), lambda x: x.repeat(2, 1)),
    ("GetItem", {}, (X, (slice(None), -1, slice(None))), lambda x, key: x[key]),
    ("GetItem", {}, (X, [slice(None), slice(None, None, -1)]), lambda x, key: x[tuple(key)]),
    ("GetItem", {}, (X, (Ellipsis, 2)), lambda x, key: x[key]),
    ("GetItem", {}, (X, (slice(None), None, 1, slice(1, 5, 2))), lambda x, key: x[key]),
    ("GetItem", {}, (X, (Ellipsis, None)), lambda x, key: x[key]),
    ("GetItem", {}, (X, slice(None)), lambda x, key: x[key]),
]


def described(value: Any) -> str:
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize(("name", "config", "args", "formula"), CASES, ids=described)
def test_an_operation_gives_what_numpy_gives(name: str, config: Any, args: Any, formula: Any) -> None:
    operation = OPERATIONS[name](**config)
    assert operation.class_name == name
    expected = np.asarray(formula(*args))
    got = operation(*args)
    assert got.dtype.kind == expected.dtype.kind
    np.testing.assert_allclose(got, expected, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize(("name", "config", "args", "formula"), CASES, ids=described)
def test_an_operation_in_a_graph_knows_its_shape_and_dtype(
    name: str, config: Any, args: Any, formula: Any
) -> None:
    arrays: list[Any] = []

    def symbol(value: Any) -> Any:
        if isinstance(value, list) and isinstance(value[0], np.ndarray):
            return [symbol(item) for item in value]
        if not isinstance(value, np.ndarray) or value.ndim < 2:
            return value
        dtype = {"b": "bool", "i": "int32"}.get(value.dtype.kind, "float32")
        arrays.append(value)
        return inputs.setdefault(len(arrays), Input(value.shape[1:], dtype=dtype))

    inputs: dict[int, Any] = {}
    output = OPERATIONS[name](**config)(*[symbol(arg) for arg in args])
    model = Model(list(inputs.values()), output)
    got = model.predict(arrays)
    expected = np.asarray(formula(*args))
    assert output.shape[1:] == got.shape[1:] == expected.shape[1:]
    assert output.dtype == str(got.dtype)
    np.testing.assert_allclose(got, expected, atol=2e-6, rtol=2e-6)


@pytest.mark.parametrize(("name", "config", "args", "formula"), CASES, ids=described)
def test_an_operation_is_built_from_its_config_in_a_file(
    name: str, config: Any, args: Any, formula: Any
) -> None:
    problems: list[Problem] = []
    spec = LayerSpec(name, "mine", dict(config), origin="keras.ops")
    operation = building.build_layer(spec, building.BuildContext(KERAS_3, problems))
    assert not problems
    assert operation is not None
    again = type(operation)(**operation.get_config())
    assert again.get_config() == operation.get_config()
    spec = LayerSpec(name, "mine", {**config, "invented_key": 1}, origin="keras.ops")
    assert building.build_layer(spec, building.BuildContext(KERAS_3, problems)) is None
    assert [problem.key for problem in problems] == ["invented_key"]


@pytest.mark.parametrize(
    ("name", "config", "key"),
    [
        ("Mean", {"axis": None}, "axis"),
        ("Any", {"axis": 0}, "axis"),
        ("Sum", {"axis": [0, 1]}, "axis"),
        ("Concatenate", {"axis": 0}, "axis"),
        ("Transpose", {}, "axes"),
        ("Transpose", {"axes": [1, 0]}, "axes"),
        ("Repeat", {"repeats": 2}, "axis"),
        ("Repeat", {"repeats": -2, "axis": 1}, "repeats"),
        ("Tile", {"repeats": [1, 2**30]}, "repeats"),
        ("Reshape", {"newshape": [-5, 3]}, "newshape"),
        ("Cast", {"dtype": "string"}, "dtype"),
        ("Cast", {"dtype": UnsupportedValue("code")}, "dtype"),
        ("Flip", {}, "axis"),
        ("Clip", {"x_min": "a", "x_max": 1}, "x_min"),
    ],
)
def test_a_bad_option_of_an_operation_is_a_problem(name: str, config: Any, key: str) -> None:
    problems: list[Problem] = []
    spec = LayerSpec(name, "mine", config, origin="keras.ops")
    assert building.build_layer(spec, building.BuildContext(KERAS_3, problems)) is None
    assert key in [problem.key for problem in problems]
    if not isinstance(config.get(key), UnsupportedValue):
        with pytest.raises(ConfigError):
            OPERATIONS[name](**config)


@pytest.mark.parametrize(
    ("name", "config", "args"),
    [
        ("GetItem", {}, (X, 0)),
        ("GetItem", {}, (X, (slice(1, None),))),
        ("GetItem", {}, (X, (slice(None), "a"))),
        ("GetItem", {}, (X, (slice(None), 9))),
        ("Reshape", {"newshape": [-1, 4]}, (X,)),
        ("Reshape", {"newshape": [None, 7]}, (X,)),
        ("ExpandDims", {"axis": 0}, (X,)),
        ("Squeeze", {"axis": 1}, (X,)),
        ("Tile", {"repeats": [2, 1, 1]}, (X,)),
        ("Matmul", {}, (X, Y)),
        ("Add", {}, (X, X[:, :, :5])),
        ("Concatenate", {"axis": 1}, ([X, X[:, :, :5]],)),
    ],
)
def test_a_call_that_does_not_fit_is_refused_with_the_name(name: str, config: Any, args: Any) -> None:
    with pytest.raises(ValueError, match=name):
        OPERATIONS[name](name=f"my_{name}", **config)(
            *[Input(arg.shape[1:]) if isinstance(arg, np.ndarray) else arg for arg in args]
            if name != "Concatenate"
            else [[Input(arg.shape[1:]) for arg in args[0]]]
        )


@pytest.mark.parametrize("exponent", [0.5, 0, 9, -1, X])
def test_a_power_that_is_no_small_whole_number_is_refused_with_the_name(exponent: Any) -> None:
    given = Input(X.shape[1:]) if isinstance(exponent, np.ndarray) else exponent
    with pytest.raises(unrolled.UnsupportedModelError, match=r"'mine'.*whole exponents from 1 to 8"):
        OPERATIONS["Power"](name="mine")(Input(X.shape[1:]), given)


def test_a_mask_computed_by_operations_is_the_mask_of_embedding() -> None:
    # What Keras 3 writes for LSTM after Embedding(mask_zero=True) in a functional model.
    ids = Input((None,), dtype="int32")
    mask = OPERATIONS["NotEqual"]()(ids, 0)
    embedding = layers.Embedding(5, 3)
    explicit = layers.LSTM(4)
    by_operations = Model(ids, explicit(embedding(ids), mask=mask))
    masked = layers.Embedding(5, 3, mask_zero=True)
    chain = unrolled.Sequential([Input((None,)), masked, layers.LSTM(4)])
    chain.set_weights(by_operations.get_weights())
    x = np.array([[1, 2, 0, 3], [0, 0, 4, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(by_operations.predict(x), chain.predict(x))


@pytest.mark.parametrize("name", sorted(registry.operation_classes()))
def test_every_operation_class_can_be_pickled(name: str) -> None:
    cls = registry.operation_classes()[name]
    assert pickle.loads(pickle.dumps(cls)) is cls
