# SPDX-License-Identifier: MIT
# The compiled module. Private: the public API is in Python. A test holds this file against the module.
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

from numpy.typing import NDArray

class Activation:
    """An elementwise activation: a kind (see activation_kinds) and its parameters."""
    def __init__(self, kind: str, alpha: float = 0.0, beta: float = 0.0, gamma: float = 0.0) -> None: ...
    def described(self) -> tuple[str, float, float, float]: ...  # kind, alpha, beta, gamma

def activation_kinds() -> list[str]: ...

class Direction:
    """One recurrent sweep: the cell, its weights, and the order in which it reads and writes timesteps."""
    def __init__(
        self,
        *,
        cell: str,  # "simple_rnn", "lstm", "gru_reset_after", "gru_reset_before"
        kernel: NDArray[Any],  # [features, gates * units]
        recurrent_kernel: NDArray[Any],  # [units, gates * units]
        bias: NDArray[Any] | None,
        activation: Activation,
        recurrent_activation: Activation,
        read_reversed: bool = False,
        write_reversed: bool = False,
        zero_output_for_mask: bool = False,
        masked_output_is_state: bool = False,  # before the first unmasked step too
    ) -> None: ...
    def described(self) -> dict[str, Any]: ...  # what it was made of

class PlanBuilder:
    """Operations over values; every method returns the id(s) of its output value(s).

    Axes count the batch as axis 0. Shapes are checked when the plan runs on concrete inputs.
    """
    def __init__(self) -> None: ...
    def input(self, dtype: str, rank: int) -> int: ...  # "float32", "int32", "bool"
    def constant(self, value: NDArray[Any]) -> int: ...  # no batch axis: broadcasts from the right
    # Operations, written by `python -m tests.core_stub` from their records in cpp/ops.
    def dense(self, x: int, kernel: NDArray[Any], bias: NDArray[Any] | None, activation: Activation) -> int:
        """activation(x . kernel + bias) on the last axis of x; kernel [depth, columns], bias [columns]."""

    def recurrent(
        self,
        x: int,
        directions: Sequence[Direction],
        *,
        mask: int | None = None,
        initial_states: Sequence[int] = (),
        return_sequences: bool = False,
        return_state: bool = False,
        concatenate: bool = False,
    ) -> list[int]:
        """Sweeps over x [batch, timesteps, features]: the output of each direction or (concatenate) one of
        all units, then (return_state) the states. Initial states by direction: h, then c for LSTM; none:
        zeros.
        """

    def scan(
        self,
        x: int,
        step: Plan,
        *,
        state_shapes: Sequence[Sequence[int]],
        mask: int | None = None,
        initial_states: Sequence[int] = (),
        return_sequences: bool = False,
        return_state: bool = False,
        read_reversed: bool = False,
        write_reversed: bool = False,
        zero_output_for_mask: bool = False,
        masked_output_is_state: bool = False,
    ) -> list[int]:
        """A plan stepped over x [batch, timesteps, ...]: it takes x_t and the states (state_shapes, without
        the batch) and gives the output and the new states, all float32. The output, then (return_state) the
        final states; no initial states: zeros.
        """

    def embedding(self, ids: int, table: NDArray[Any]) -> int:
        """Rows of the table; ids int32, or float32 (truncated)."""

    def convolution(
        self,
        x: int,
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        *,
        strides: Sequence[int],
        padding: str,
        dilation: Sequence[int],
        groups: int,
        activation: Activation,
    ) -> int:
        """x [batch, spatial..., channels], kernel [spatial..., channels / groups, filters]; padding valid,
        same or (1D) causal.
        """

    def pool(self, x: int, *, kind: str, size: Sequence[int], strides: Sequence[int], padding: str) -> int:
        """Windows of x [batch, spatial..., channels]; kind max or average, padding valid or same."""

    def reduce(self, x: int, *, kind: str, axes: Sequence[int], keepdims: bool = False) -> int:
        """sum, mean, max or min over axes; of bool: any or all."""

    def masked_mean(self, x: int, mask: int, *, keepdims: bool = False) -> int:
        """The mean over the unmasked timesteps, axis 1; NaN where there is none."""

    def running_mean(
        self,
        x: int,
        sums: int,
        count: int,
        *,
        mask: int | None = None,
        keepdims: bool = False,
    ) -> list[int]:
        """Over axis 1 of a sequence [batch, time, ...] in pieces: the mean so far, sums and count, doubles as
        two int32 each.
        """

    def activate(self, x: int, activation: Activation) -> int:
        """activation(x), element by element."""

    def softmax(self, x: int, *, axis: int, logarithm: bool = False) -> int:
        """Over one axis; logarithm: log_softmax."""

    def sparsemax(self, x: int, *, axis: int) -> int:
        """Over one axis."""

    def binary(self, kind: str, a: int, b: int) -> int:
        """Broadcasts as NumPy does: add, subtract, multiply, divide, maximum, minimum; to bool: equal,
        not_equal, greater, greater_equal, less, less_equal, and, or.
        """

    def logical_not(self, x: int) -> int:
        """not x."""

    def select(self, condition: int, a: int, b: int) -> int:
        """condition ? a : b, broadcasting as NumPy does."""

    def apply_mask(self, x: int, mask: int) -> int:
        """x where mask, else 0; mask has x's leading axes."""

    def cast(self, x: int, dtype: str) -> int:
        """x in another dtype; float32 to int32 toward zero."""

    def ones_like(self, x: int, dtype: str) -> int:
        """Ones in the shape of x."""

    def batch_normalization(
        self,
        x: int,
        *,
        axis: int,
        mean: NDArray[Any],
        variance: NDArray[Any],
        gamma: NDArray[Any] | None,
        beta: NDArray[Any] | None,
        epsilon: float,
    ) -> int:
        """With stored statistics; all arrays have one axis, the channels."""

    def layer_normalization(
        self,
        x: int,
        *,
        axes: Sequence[int],
        gamma: NDArray[Any] | None,
        beta: NDArray[Any] | None,
        epsilon: float,
        root_mean_square: bool = False,
    ) -> int:
        """With the statistics of each row; gamma and beta are shaped as the normalised axes;
        root_mean_square: no mean subtracted (RMSNormalization).
        """

    def reshape(self, x: int, target: Sequence[int]) -> int:
        """Each row in another shape; the target is without the batch and may have one -1."""

    def merge_time(self, x: int) -> int:
        """[batch, time, ...] to [batch * time, ...]."""

    def split_time(self, x: int, like: int) -> int:
        """[batch * time, ...] to [batch, time, ...], with the time of `like`."""

    def expand_dims(self, x: int, axis: int) -> int:
        """A new axis of size 1."""

    def squeeze(self, x: int, axis: int) -> int:
        """Without an axis of size 1."""

    def transpose(self, x: int, permutation: Sequence[int]) -> int:
        """The axes in another order; the permutation has all of them, the batch too."""

    def slice(self, x: int, *, axis: int, start: int | None, stop: int | None, step: int = 1) -> int:
        """x[start:stop:step] along one axis, by Python's rules."""

    def pad(self, x: int, *, axis: int, before: int, after: int) -> int:
        """Zeros before and after along one axis."""

    def repeat(self, x: int, *, axis: int, count: int) -> int:
        """Each element along one axis `count` times."""

    def concatenate(self, xs: Sequence[int], *, axis: int) -> int:
        """Values behind one another along one axis."""

    def matmul(self, a: int, b: int, *, transpose_b: bool = False) -> int:
        """Products of matrices, batched over leading axes that broadcast."""

    # End of the operations.
    def finish(self, outputs: Sequence[int]) -> Plan: ...

class Plan:
    """Immutable; any number of threads may run it at once."""
    def run(
        self, inputs: Sequence[NDArray[Any]], max_rows: int = 0, threads: int = 0
    ) -> list[NDArray[Any]]: ...  # 0: chosen
    def output_shapes(self, input_shapes: Sequence[Sequence[int]]) -> list[tuple[int, ...]]: ...
    def operations(self) -> list[dict[str, Any]]: ...  # in order: name, arguments as given, results

class Stream:
    """Rows stepped together; for one thread at a time."""
    def __init__(
        self,
        plan: Plan,
        rows: int,
        *,
        input_shapes: Sequence[Sequence[int]],  # of one timestep of one row
        states: Sequence[tuple[str, Sequence[int], float]],  # dtype, shape of one row, initial value
        sequence_outputs: Sequence[bool],  # whether an output has a time axis
        convert: Callable[[int, Any], NDArray[Any]],  # input number, what came instead of a ready array
    ) -> None: ...
    def step(self, x: Any, out: Any = None) -> Any: ...  # one array where there is one output, else a list
    def run(self, x: Any) -> Any: ...
    def generate(
        self,
        outputs: NDArray[Any],  # the last ones, [rows, width]
        *,
        feed: str,  # "values", "ids" or "one_hot"
        steps: int,
        width: int,
        temperature: float,  # 0: the most likely token
        top_k: int,  # 0: all tokens
        from_logits: bool,
        seed: int,
    ) -> NDArray[Any]: ...  # [rows, steps] of ids, or [rows, steps, width]
    def bytes_per_timestep(self) -> float: ...  # of all intermediate values of one timestep
    def reset(self, rows: Sequence[int] | None = None) -> None: ...
    def states(self) -> list[NDArray[Any]]: ...  # copies
    def set_states(self, states: Sequence[NDArray[Any]], timesteps_seen: Sequence[int]) -> None: ...
    def timesteps_seen(self) -> list[int]: ...

class StreamPool:
    """Clients stepped together; thread-safe. Its construction is that of Stream."""
    def __init__(
        self,
        plan: Plan,
        capacity: int,
        *,
        input_shapes: Sequence[Sequence[int]],
        states: Sequence[tuple[str, Sequence[int], float]],
        sequence_outputs: Sequence[bool],
        convert: Callable[[int, Any], NDArray[Any]],
    ) -> None: ...
    def step(self, ids: Any, x: Any, out: Any = None) -> Any: ...
    def open(self) -> int: ...
    def close(self, id: int) -> None: ...
    def reset(self, id: int) -> None: ...
    def size(self) -> int: ...
    def capacity(self) -> int: ...
    def state(self, id: int) -> tuple[list[NDArray[Any]], int]: ...  # copies, timesteps seen
    def set_state(self, id: int, states: Sequence[NDArray[Any]], timesteps_seen: int) -> None: ...

def generate_from_window(
    plan: Plan,
    window: NDArray[Any],
    *,
    feed: str,
    steps: int,
    width: int,
    temperature: float,
    top_k: int,
    from_logits: bool,
    seed: int,
) -> NDArray[Any]: ...

PLAN_FILE_MAGIC: bytes  # how a plan file begins

def plan_file_bytes(
    *,
    name: str,
    description: str,
    inputs: Sequence[tuple[str, str, Sequence[int | None]]],  # name, dtype, sizes with the batch
    outputs: Sequence[tuple[str, str, Sequence[int | None]]],
    plan: Plan,
    stream_plan: Plan | None,
    states: Sequence[tuple[str, Sequence[int], float]],
    sequence_outputs: Sequence[bool],
) -> bytes: ...

class PlanFile:
    """An open plan file; any number of threads may use it at once."""

    @staticmethod
    def open(path: str | PathLike[str], *, verify: bool) -> PlanFile: ...
    @staticmethod
    def from_bytes(data: bytes, *, verify: bool) -> PlanFile: ...
    def to_bytes(self) -> bytes: ...
    @property
    def name(self) -> bytes: ...
    @property
    def description(self) -> bytes: ...
    @property
    def inputs(self) -> list[tuple[bytes, str, list[int | None]]]: ...
    @property
    def outputs(self) -> list[tuple[bytes, str, list[int | None]]]: ...
    @property
    def plan(self) -> Plan: ...
    @property
    def stream_plan(self) -> Plan | None: ...
    @property
    def states(self) -> list[tuple[str, list[int], float]]: ...
    @property
    def sequence_outputs(self) -> list[bool]: ...

def operations() -> list[dict[str, Any]]: ...  # what there is: name, doc, parameters, gives_list
def isa() -> str: ...
def available_isas() -> list[str]: ...
def set_num_threads(count: int) -> None: ...
def get_num_threads() -> int: ...
