# SPDX-License-Identifier: MIT
"""PyTorch: nn.RNN, nn.LSTM, nn.GRU and nn.Linear in inference mode, weights converted from Keras's layout.

PyTorch keeps matrices transposed, a bias for the input and one for the recurrence, and the gates of the
GRU as r, z, n; those of the LSTM stand as in Keras.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.peers import Run
from bench.workloads import Shape, Workload, cell_of, directions_of, is_recurrent, shapes

TITLE = "PyTorch"
MODULES = ("torch",)


def environment(threads: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def version() -> str:
    import torch

    return f"torch {torch.__version__}"


def prepare(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    remaining = list(weights)
    steps = [_layer(shape, remaining) for shape in shapes(workload)]

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            y = torch.from_numpy(x)
            for step in steps:
                y = step(y)
            return y.numpy()

    return run


def prepare_step(workload: Workload, weights: list[np.ndarray], batch: int, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    remaining = list(weights)
    layers = [_layer(shape, remaining, whole=False) for shape in shapes(workload)]
    states: list[Any] = [None] * len(layers)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            y = torch.from_numpy(x)[:, None]
            for index, layer in enumerate(layers):
                if isinstance(layer, torch.nn.RNNBase):
                    y, states[index] = layer(y, states[index])
                else:
                    y = layer(y)
            return y[:, 0].numpy()

    return run


def _layer(shape: Shape, remaining: list[np.ndarray], whole: bool = True) -> Any:
    """A function of the layer's input to its output; with ``whole`` off, a recurrent layer itself."""
    import torch

    recipe = shape.recipe
    if is_recurrent(recipe):
        layer = _recurrent(shape, remaining)
        return _output_of(layer, cell_of(recipe)) if whole else layer
    if recipe["class"] == "Flatten":
        return lambda x: x.flatten(1)
    linear = torch.nn.Linear(shape.features, recipe["units"])
    kernel, bias = remaining.pop(0), remaining.pop(0)
    linear.weight.data = torch.from_numpy(np.ascontiguousarray(kernel.T))
    linear.bias.data = torch.from_numpy(bias)
    activation = {
        "linear": None,
        "sigmoid": torch.sigmoid,
        "silu": torch.nn.functional.silu,
        "softmax": lambda x: torch.softmax(x, dim=-1),
    }[recipe["activation"]]
    return linear if activation is None else lambda x: activation(linear(x))


def _recurrent(shape: Shape, remaining: list[np.ndarray]) -> Any:
    import torch

    cell = cell_of(shape.recipe)
    both = directions_of(shape.recipe) == 2
    kinds = {"SimpleRNN": torch.nn.RNN, "LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU}
    layer = kinds[cell["class"]](shape.features, cell["units"], batch_first=True, bidirectional=both)
    for suffix in ("", "_reverse")[: 1 + both]:
        kernel, recurrent_kernel, bias = (remaining.pop(0) for _ in range(3))
        if cell["class"] == "GRU":
            kernel, recurrent_kernel, bias = (_r_before_z(a) for a in (kernel, recurrent_kernel, bias))
        else:
            bias = np.stack([bias, np.zeros_like(bias)])
        for name, value in (("weight_ih", kernel.T), ("weight_hh", recurrent_kernel.T),
                            ("bias_ih", bias[0]), ("bias_hh", bias[1])):  # fmt: skip
            getattr(layer, f"{name}_l0{suffix}").data = torch.from_numpy(np.ascontiguousarray(value))
    return layer.eval()


def _output_of(layer: Any, cell: dict[str, Any]) -> Any:
    """The layer's sequences, or its last output, without the states."""
    import torch

    if cell.get("return_sequences"):
        return lambda x: layer(x)[0]

    def last(x: torch.Tensor) -> torch.Tensor:
        states = layer(x)[1]
        hidden = states[0] if cell["class"] == "LSTM" else states
        return torch.cat((hidden[0], hidden[1]), dim=-1) if layer.bidirectional else hidden[0]

    return last


def _r_before_z(array: np.ndarray) -> np.ndarray:
    z, r, h = np.split(array, 3, axis=-1)
    return np.concatenate([r, z, h], axis=-1)
