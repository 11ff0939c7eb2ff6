# SPDX-License-Identifier: MIT
"""TensorFlow functions in graphs of tf.keras 2.4 on (TFOpLambda, SlicingOpLambda), as Keras 3 operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unrolled.formats.config.json_objects import OPERATION
from unrolled.spec import LayerSpec, NodeSpec


@dataclass(frozen=True)
class _Operation:
    """A Keras 3 operation: tensor arguments by TensorFlow's names, in order, and options into its config."""

    class_name: str
    arguments: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)  # TensorFlow's name to Keras 3's
    defaults: Mapping[str, Any] = field(default_factory=dict)


def _reduction(class_name: str) -> _Operation:
    options = {"axis": "axis", "keepdims": "keepdims"}
    return _Operation(class_name, ("input_tensor",), options, {"axis": None, "keepdims": False})


def _binary(class_name: str) -> _Operation:
    return _Operation(class_name, ("x", "y"))


def _unary(class_name: str, argument: str = "x") -> _Operation:
    return _Operation(class_name, (argument,))


_ADD, _SUBTRACT, _MULTIPLY, _DIVIDE = (_binary(name) for name in ("Add", "Subtract", "Multiply", "Divide"))
_MATMUL = _Operation("Matmul", ("a", "b"), {"transpose_b": "transpose_b"}, {"transpose_b": False})

OPERATIONS: Mapping[str, _Operation] = {
    "math.add": _ADD,
    "__operators__.add": _ADD,
    "math.subtract": _SUBTRACT,
    "__operators__.sub": _SUBTRACT,
    "math.multiply": _MULTIPLY,
    "__operators__.mul": _MULTIPLY,
    "math.divide": _DIVIDE,
    "math.truediv": _DIVIDE,
    "math.scalar_mul": _Operation("Multiply", ("scalar", "x")),
    "__operators__.truediv": _DIVIDE,
    "math.maximum": _binary("Maximum"),
    "math.minimum": _binary("Minimum"),
    "math.pow": _binary("Power"),
    "math.equal": _binary("Equal"),
    "__operators__.eq": _binary("Equal"),
    "math.not_equal": _binary("NotEqual"),
    "__operators__.ne": _binary("NotEqual"),
    "math.greater": _binary("Greater"),
    "__operators__.gt": _binary("Greater"),
    "math.greater_equal": _binary("GreaterEqual"),
    "__operators__.ge": _binary("GreaterEqual"),
    "math.less": _binary("Less"),
    "__operators__.lt": _binary("Less"),
    "math.less_equal": _binary("LessEqual"),
    "__operators__.le": _binary("LessEqual"),
    "math.logical_and": _binary("LogicalAnd"),
    "__operators__.and": _binary("LogicalAnd"),
    "math.logical_or": _binary("LogicalOr"),
    "__operators__.or": _binary("LogicalOr"),
    "math.logical_not": _unary("LogicalNot"),
    "__operators__.invert": _unary("LogicalNot"),
    "math.negative": _unary("Negative"),
    "__operators__.neg": _unary("Negative"),
    "math.square": _unary("Square"),
    "math.sqrt": _unary("Sqrt"),
    "math.exp": _unary("Exp"),
    "math.log": _unary("Log"),
    "math.abs": _unary("Absolute"),
    "math.tanh": _unary("Tanh"),
    "nn.tanh": _unary("Tanh"),
    "math.sigmoid": _unary("Sigmoid"),
    "nn.sigmoid": _unary("Sigmoid"),
    "nn.relu": _unary("Relu", "features"),
    "nn.relu6": _unary("Relu6", "features"),
    "nn.elu": _unary("Elu", "features"),
    "nn.selu": _unary("Selu", "features"),
    "nn.softplus": _unary("Softplus", "features"),
    "math.softplus": _unary("Softplus", "features"),
    "nn.softsign": _unary("Softsign", "features"),
    "nn.silu": _unary("Silu", "features"),
    "nn.leaky_relu": _Operation(
        "LeakyRelu", ("features",), {"alpha": "negative_slope"}, {"negative_slope": 0.2}
    ),
    # TensorFlow's default is the exact form, Keras 3's operation's the approximation.
    "nn.gelu": _Operation("Gelu", ("features",), {"approximate": "approximate"}, {"approximate": False}),
    "nn.softmax": _Operation("Softmax", ("logits",), {"axis": "axis"}, {"axis": -1}),
    "nn.log_softmax": _Operation("LogSoftmax", ("logits",), {"axis": "axis"}, {"axis": -1}),
    "math.reduce_mean": _reduction("Mean"),
    "math.reduce_sum": _reduction("Sum"),
    "math.reduce_max": _reduction("Max"),
    "math.reduce_min": _reduction("Min"),
    "math.reduce_prod": _reduction("Prod"),
    "math.reduce_any": _reduction("Any"),
    "math.reduce_all": _reduction("All"),
    "expand_dims": _Operation("ExpandDims", ("input",), {"axis": "axis"}),
    "squeeze": _Operation("Squeeze", ("input",), {"axis": "axis"}, {"axis": None}),
    "zeros_like": _Operation("ZerosLike", ("input",), {"dtype": "dtype"}, {"dtype": None}),
    "ones_like": _Operation("OnesLike", ("input",), {"dtype": "dtype"}, {"dtype": None}),
    "cast": _Operation("Cast", ("x",), {"dtype": "dtype"}),
    "reshape": _Operation("Reshape", ("tensor",), {"shape": "newshape"}),
    "transpose": _Operation("Transpose", ("a",), {"perm": "axes"}, {"axes": None}),
    "compat.v1.transpose": _Operation("Transpose", ("a",), {"perm": "axes"}, {"axes": None}),
    "compat.v1.squeeze": _Operation("Squeeze", ("input",), {"axis": "axis"}, {"axis": None}),
    "clip_by_value": _Operation("Clip", ("t",), {"clip_value_min": "x_min", "clip_value_max": "x_max"}),
    "tile": _Operation("Tile", ("input",), {"multiples": "repeats"}),
    "reverse": _Operation("Flip", ("tensor",), {"axis": "axis"}),
    "repeat": _Operation("Repeat", ("input",), {"repeats": "repeats", "axis": "axis"}, {"axis": None}),
    "concat": _Operation("Concatenate", ("values",), {"axis": "axis"}),
    "stack": _Operation("Stack", ("values",), {"axis": "axis"}, {"axis": 0}),
    "linalg.matmul": _MATMUL,
    "matmul": _MATMUL,
    "where": _Operation("Where", ("condition", "x", "y")),
}

# Arguments without effect where they have these values (TensorFlow writes out some of its defaults).
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "transpose_a": (False,),
    "adjoint_a": (False,),
    "adjoint_b": (False,),
    "a_is_sparse": (False,),
    "b_is_sparse": (False,),
    "output_type": (None,),
    "conjugate": (False,),
    "squeeze_dims": (None,),
    "optimize": (True,),
    "layout": (None,),
}


def map_operation(layer: LayerSpec) -> None:
    """Change a TFOpLambda in place into the Keras 3 operation that computes the same.

    Where there is none, class and config stay, so that it is refused with its function named.
    """
    function = layer.config.get("function")
    if layer.class_name == "SlicingOpLambda" or function == "__operators__.getitem":
        mapped = [_map_slicing(node) for node in layer.nodes]
        class_name = "GetItem"
        configs: list[dict[str, Any]] = [{} for _ in layer.nodes]
    else:
        operation = OPERATIONS.get(function) if isinstance(function, str) else None
        if operation is None:
            layer.class_name = "TFOpLambda"
            return
        results = [_map_call(operation, node) for node in layer.nodes]
        mapped = [result[0] if result else None for result in results]
        class_name, configs = operation.class_name, [result[1] if result else {} for result in results]
    nodes = [node for node in mapped if node is not None]
    # Options are part of the operation: calls with different ones are different operations.
    if not nodes or len(nodes) < len(mapped) or any(config != configs[0] for config in configs):
        layer.class_name = "TFOpLambda"
        layer.config.setdefault("function", function)
        return
    layer.class_name, layer.origin, layer.nodes = class_name, OPERATION, nodes
    layer.config = {"name": layer.name, **configs[0]}


def _map_call(operation: _Operation, node: NodeSpec) -> tuple[NodeSpec, dict[str, Any]] | None:
    given = {
        key: value
        for key, value in node.kwargs.items()
        if key != "name" and not any(value is neutral for neutral in _NEUTRAL.get(key, ()))
    }
    values = dict(zip(operation.arguments, node.args, strict=False))
    if len(node.args) > len(operation.arguments) or set(values) & set(given):
        return None
    values |= given
    config: dict[str, Any] = dict(operation.defaults)
    for key, name in operation.options.items():
        if key in values:
            config[name] = values.pop(key)
    if set(values) != set(operation.arguments) or set(config) != {*operation.options.values()}:
        return None
    return NodeSpec(tuple(values[key] for key in operation.arguments)), config


def _map_slicing(node: NodeSpec) -> NodeSpec | None:
    """``x[slice_spec]``: slices as {"start", "stop", "step"}, whole numbers, None, Ellipsis."""
    spec = node.kwargs.get("slice_spec")
    if set(node.kwargs) - {"slice_spec", "name"} or len(node.args) != 1:
        return None
    items = spec if isinstance(spec, list) else [spec]
    key: list[Any] = []
    for item in items:
        if isinstance(item, dict) and set(item) <= {"start", "stop", "step"}:
            key.append(slice(item.get("start"), item.get("stop"), item.get("step")))
        elif item is None or item is ... or (isinstance(item, int) and not isinstance(item, bool)):
            key.append(item)
        else:
            return None
    return NodeSpec((node.args[0], key if isinstance(spec, list) else key[0]))
