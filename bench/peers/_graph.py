# SPDX-License-Identifier: MIT
"""A workload as an ONNX model made of the fused operators RNN, LSTM and GRU: the best case of a converter.

ONNX is time-major, ``[timesteps, directions, batch, units]``, and its gates are i, o, f, c (LSTM) and z, r,
h (GRU). Sequences stay time-major between recurrent layers, so that each model has one transposition
before the first and one behind the last.
"""

from __future__ import annotations

import numpy as np

from bench.workloads import Shape, Workload, cell_of, directions_of, is_recurrent, shapes

OPSET = 17  # the newest whose operators every runtime here has


def state_shapes(workload: Workload, batch: int) -> dict[str, tuple[int, int, int]]:
    """The states of a model for streaming by their names: each is the input ``name`` and the output
    ``name_out``, ``[1, batch, units]``."""
    states = {}
    for index, recipe in enumerate(filter(is_recurrent, workload.layers)):
        for name in ("h", "c") if recipe["class"] == "LSTM" else ("h",):
            states[f"{name}{index}"] = (1, batch, recipe["units"])
    return states


def onnx_model(workload: Workload, weights: list[np.ndarray], batch: int, *, stateful: bool = False) -> bytes:
    """The serialized model for a fixed batch size; input "x", output "y"; with ``stateful`` also the states
    of ``state_shapes`` (of forward layers)."""
    import onnx

    states = state_shapes(workload, batch) if stateful else {}
    graph = _Graph(batch, list(states))
    remaining = list(weights)
    value, time_major = "x", False
    for shape in shapes(workload):
        if is_recurrent(shape.recipe):
            if not time_major:
                value = graph.add("Transpose", [value], perm=[1, 0, 2])
            value = graph.recurrent(value, shape, remaining)
            time_major = bool(cell_of(shape.recipe).get("return_sequences"))
            continue
        if time_major:
            value, time_major = graph.add("Transpose", [value], perm=[1, 0, 2]), False
        if shape.recipe["class"] == "Flatten":
            value = graph.add("Flatten", [value], axis=1)
        else:
            value = graph.dense(value, shape, remaining)
    if time_major:
        value = graph.add("Transpose", [value], perm=[1, 0, 2])
    graph.add("Identity", [value], output="y")

    kind = onnx.TensorProto.FLOAT
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            workload.name,
            [
                onnx.helper.make_tensor_value_info("x", kind, [batch, workload.timesteps, workload.features]),
                *(onnx.helper.make_tensor_value_info(name, kind, shape) for name, shape in states.items()),
            ],
            [
                onnx.helper.make_tensor_value_info("y", kind, None),
                *(
                    onnx.helper.make_tensor_value_info(f"{name}_out", kind, shape)
                    for name, shape in states.items()
                ),
            ],
            graph.initializers,
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=8,
    )
    return onnx.shape_inference.infer_shapes(model).SerializeToString()


class _Graph:
    """Nodes and constants under fresh names; ``states`` are taken by the recurrent layers in order."""

    def __init__(self, batch: int, states: list[str]) -> None:
        self.batch = batch
        self.states = states
        self.nodes: list[object] = []
        self.initializers: list[object] = []

    def add(self, kind: str, inputs: list[str], *, output: str = "", **attributes: object) -> str:
        """Add a node of one output; the output's name."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.add_node(kind, inputs, [output], **attributes)
        return output

    def add_node(self, kind: str, inputs: list[str], outputs: list[str], **attributes: object) -> None:
        import onnx

        self.nodes.append(onnx.helper.make_node(kind, inputs, outputs, **attributes))

    def constant(self, value: np.ndarray) -> str:
        import onnx

        name = f"constant_{len(self.initializers)}"
        self.initializers.append(onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def recurrent(self, value: str, shape: Shape, remaining: list[np.ndarray]) -> str:
        cell, directions = cell_of(shape.recipe), directions_of(shape.recipe)
        units, kind = cell["units"], cell["class"]
        parts = []
        for _ in range(directions):
            kernel, recurrent_kernel, bias = (remaining.pop(0) for _ in range(3))
            if kind != "GRU":
                bias = np.stack([bias, np.zeros_like(bias)])
            if kind == "LSTM":
                kernel, recurrent_kernel, bias = (_iofc(a) for a in (kernel, recurrent_kernel, bias))
            parts.append((kernel.T, recurrent_kernel.T, bias.reshape(-1)))
        packed = [self.constant(np.stack(arrays)) for arrays in zip(*parts, strict=True)]
        sequences = bool(cell.get("return_sequences"))
        attributes = {"linear_before_reset": 1} if kind == "GRU" else {}
        output = f"recurrent_{len(self.nodes)}"
        outputs = [output] if sequences else ["", output]  # Y, Y_h
        inputs = [value, *packed]
        if self.states:
            own = [self.states.pop(0) for _ in range(2 if kind == "LSTM" else 1)]
            inputs += ["", *own]  # sequence_lens, initial_h, initial_c
            outputs = [output, *(f"{name}_out" for name in own)]  # Y, Y_h, Y_c
        self.add_node(
            "RNN" if kind == "SimpleRNN" else kind,
            inputs,
            outputs,
            hidden_size=units,
            direction="bidirectional" if directions == 2 else "forward",
            **attributes,
        )
        if sequences:  # [timesteps, directions, batch, units] to [timesteps, batch, directions * units]
            if directions == 1:
                return self.add("Squeeze", [output, self.constant(np.int64([1]))])
            output = self.add("Transpose", [output], perm=[0, 2, 1, 3])
            target = np.int64([shape.timesteps, self.batch, directions * units])
            return self.add("Reshape", [output, self.constant(target)])
        if directions == 1:  # [directions, batch, units]
            return self.add("Squeeze", [output, self.constant(np.int64([0]))])
        output = self.add("Transpose", [output], perm=[1, 0, 2])
        return self.add("Reshape", [output, self.constant(np.int64([self.batch, directions * units]))])

    def dense(self, value: str, shape: Shape, remaining: list[np.ndarray]) -> str:
        kernel, bias = self.constant(remaining.pop(0)), self.constant(remaining.pop(0))
        if shape.timesteps is None:
            value = self.add("Gemm", [value, kernel, bias])
        else:
            value = self.add("Add", [self.add("MatMul", [value, kernel]), bias])
        activation = shape.recipe["activation"]
        if activation == "sigmoid":
            return self.add("Sigmoid", [value])
        if activation == "softmax":
            return self.add("Softmax", [value], axis=-1)
        if activation == "silu":
            return self.add("Mul", [value, self.add("Sigmoid", [value])])
        return value


def _iofc(array: np.ndarray) -> np.ndarray:
    i, f, c, o = np.split(array, 4, axis=-1)
    return np.concatenate([i, o, f, c], axis=-1)
