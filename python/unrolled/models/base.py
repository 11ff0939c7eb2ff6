# SPDX-License-Identifier: MIT
"""What Sequential and functional models share: weights, the plan, predict, summary."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unrolled.engine import tree
from unrolled.engine.lowering import CompiledPlan, Flow, Lowering, Shape, lowered
from unrolled.errors import printable
from unrolled.layers.base import Layer
from unrolled.layers.symbolic import KerasTensor, Node
from unrolled.models.summary import summary_text

if TYPE_CHECKING:
    from unrolled.formats import FileLike, HDF5Reader
    from unrolled.spec import ModelFile
    from unrolled.streaming import Stream, StreamPool

# A prediction that would last longer than this shows a progress bar on a terminal (verbose="auto").
PROGRESS_AFTER_SECONDS = 2.0
# How long one step of the progress bar should last.
PROGRESS_STEP_SECONDS = 0.25


class Model(Layer):
    """A model: layers between inputs and outputs, run as one plan.

    ``Model(inputs, outputs)`` makes a functional model from symbolic tensors, as in Keras.

    Attributes
    ----------
    source : ModelFile or None
        The file that the model was loaded from: its format, the Keras version that wrote it.
    """

    config_class_name: ClassVar[str] = "Functional"
    keeps_any_attribute: ClassVar = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is Model:
            from unrolled.models.functional import Functional

            return super().__new__(Functional)
        return super().__new__(cls)

    def __init__(self, *, name: str | None = None, trainable: bool = True, **kwargs: Any) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        self.source: ModelFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self.source is not None:  # its weights may be an open file, and are in the variables
            state["source"] = replace(self.source, weights=None)
        return state

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Model:
        """The model that ``get_config`` describes, with fresh weights.

        Parameters
        ----------
        config : mapping
            Of a Sequential or a functional model.
        custom_objects : mapping, optional
            As for ``load_model``.

        Raises
        ------
        UnsupportedModelError, ModelFileError
            As ``load_model``.

        Examples
        --------
        >>> import unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(2, 10))])
        >>> unrolled.Model.from_config(model.get_config()).count_params()
        42
        """
        from unrolled.models.loading import model_from_config

        return model_from_config(config, custom_objects)

    # --------------------------------------------------------------- structure

    @property
    def layers(self) -> list[Layer]:
        """The layers in order."""
        raise NotImplementedError

    @property
    def tracked(self) -> dict[str, Any]:
        return {"layers": [layer for layer in self.layers if not layer.is_operation]}

    def summary_layers(self) -> list[Layer]:
        """The rows of the summary."""
        return self.layers

    def graph_nodes(self) -> list[Node] | None:
        """The calls of a functional model from inputs to outputs; None for a plain chain."""
        return None

    @property
    def inputs(self) -> list[KerasTensor]:
        """The symbolic inputs in flattened order."""
        return list(tree.leaves(self.input))

    @property
    def outputs(self) -> list[KerasTensor]:
        """The symbolic outputs in flattened order."""
        return list(tree.leaves(self.output))

    @property
    def input_shape(self) -> Any:
        """``(batch, ...)`` with None where any size goes; a list or dict for several inputs."""
        return tree.map_leaves(lambda tensor: tensor.shape, self.input)

    @property
    def output_shape(self) -> Any:
        """``(batch, ...)`` with None where the input decides; a list or dict for several outputs."""
        return tree.map_leaves(lambda tensor: tensor.shape, self.output)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of this name, or at this index.

        Raises
        ------
        ValueError
            There is none; the message lists the names.
        """
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise ValueError(f"index {index}: the model has {len(self.layers)} layers")
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise ValueError(f"no layer {name!r}; the layers are {[layer.name for layer in self.layers]}")

    def describe_output(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return tree.map_leaves(lambda tensor: (tensor.shape, tensor.dtype), self.output)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.output_shape

    def check_built(self) -> None:
        """Raise ``ValueError`` unless the model knows its input shape and has weights."""
        if not self.built:
            raise ValueError(
                f"model {self.name!r} has not been built: give its first layer an input_shape, start it "
                "with Input(shape), or call build(input_shape)"
            )

    # ----------------------------------------------------------------- weights

    def load_weights(self, path: FileLike, *, hdf5: HDF5Reader = "builtin") -> None:
        """Read weights from a weights-only or whole-model file of any Keras version into this model.

        Parameters
        ----------
        path : path-like, bytes or binary file
            ``.weights.h5``, ``.h5``, ``.keras`` or ``.weights.json``, a TensorFlow checkpoint (``"cp.ckpt"``),
            a SavedModel folder (one that ``export()`` wrote as well), or what else ``load_model`` takes.
        hdf5 : {"builtin", "h5py"}
            As for ``load_model``.

        Raises
        ------
        ModelFileError
            The file is broken, or its weights do not fit; nothing is changed then.
        """
        from unrolled.formats import read_weights

        self.check_built()
        read_weights(path, hdf5).load_into(self)

    def save(self, path: str | PathLike[str], *, approximate: bool = False) -> list[str]:
        """Write the model as a ``.keras`` file that Keras 3 loads and that gives the same numbers there.

        Parameters
        ----------
        path : path-like
            Ends in ``.keras``; replaced where it exists, in one step.
        approximate : bool
            Whether what Keras 3 cannot express is written as the nearest that it can.

        Returns
        -------
        list of str
            What was written differently from the model: weights scaled to give Keras 2's hard_sigmoid by
            Keras 3's, and, with ``approximate``, everything whose numbers will differ.

        Raises
        ------
        UnsupportedModelError
            Keras 3 cannot express the model; ``problems`` has all reasons.
        ValueError
            The name does not end in ``.keras``, or the model is not built.

        Examples
        --------
        >>> import tempfile, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(2, 10))])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/model.keras")
        ...     unrolled.load_model(f"{folder}/model.keras").count_params()
        []
        42
        """
        from unrolled.models.saving import save_model

        return save_model(self, path, approximate=approximate)

    def reset_state(self) -> None:
        """Zero the states of all stateful layers."""
        for layer in self.walk():
            if getattr(layer, "stateful", False) and not isinstance(layer, Model):
                layer.reset_state()  # type: ignore[attr-defined]

    # ----------------------------------------------------------------- running

    def predict(self, x: Any, batch_size: int | None = None, verbose: str | int = "auto") -> Any:
        """Run the model on any number of rows.

        Parameters
        ----------
        x : array_like, or list or dict of array_like; table; iterable of batches
            ``(batch, ...)`` as ``input_shape`` says; numbers of any dtype that converts safely. Several
            inputs: a dict by key or input name, or a list in the order of ``inputs`` (which for a model
            with a dict of inputs is the order of the sorted keys, as in Keras). Also a DataFrame of pandas
            or polars or a table of Arrow, with columns named as the inputs or, for one input, of its
            numbers alone; a generator, a ``tf.data.Dataset`` or another iterable of batches.
        batch_size : int, optional
            Rows computed together at most. Never changes a result; chosen where absent. A stateful model
            takes rows in batches of this size, states carried from batch to batch, as Keras does.
        verbose : {"auto", 0, 1}
            Whether a progress bar is shown (needs the extra ``cli``); "auto": on a terminal, when it lasts.

        Returns
        -------
        ndarray of float32, or a list or dict of them
            Freshly allocated, ``(batch, ...)``.

        Raises
        ------
        ValueError
            An input does not have the expected shape, or holds what cannot be converted.

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(2, 10))])
        >>> model.predict(np.zeros((5, 2, 10))).shape
        (5, 3)
        """
        if not isinstance(x, np.ndarray | list | tuple | dict | np.generic | int | float):
            from unrolled.data.frames import predict_other

            result, is_table = predict_other(self, x, batch_size, verbose)
            if is_table:
                return result
        if not self.built:  # as Keras does with a model that has not seen its input's shape
            with self._plans.compiling:
                self.ensure_built(np.shape(x))
        arrays = self._check_inputs(x)
        if batch_size is not None and (
            not isinstance(batch_size, int | np.integer) or not 1 <= batch_size < 2**63
        ):
            raise ValueError(f"batch_size: expected a positive integer below 2**63, got {batch_size!r}")
        compiled, structure = self._compiled(arrays)
        rows = arrays[0].shape[0]
        if compiled.is_stateful:
            step = batch_size or self.inputs[0].shape[0] or rows
            for start in range(0, rows, step or 1):
                self._check_stateful_batch(min(step, rows - start))
            flat = _concatenate(
                [compiled.run([a[i : i + step] for a in arrays]) for i in range(0, rows, step or 1)]
            )
            if not flat:
                flat = compiled.run(arrays)
        elif verbose in (1, True) or (verbose == "auto" and _on_terminal()):
            flat = _run_with_progress(compiled, arrays, batch_size or 0, always=verbose != "auto")
        else:
            flat = compiled.run(arrays, batch_size or 0)
        return tree.unflatten(structure, iter(flat))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model on arrays at once with the least overhead, or call it on symbolic tensors.

        Parameters
        ----------
        *args, **kwargs
            The input(s) as for ``predict``; ``mask``, ``(batch, timesteps)`` of bool.

        Returns
        -------
        ndarray of float32, or a list or dict of them
            The numbers of ``predict``; KerasTensor for symbolic inputs.

        Raises
        ------
        ValueError
            As ``predict``.
        """
        if len(args) == 1 and not kwargs:
            thin = self._plans.get(_THIN)
            if thin is not None and thin.takes(args[0]):
                return thin.run(args)[0]
        return super().__call__(*args, **kwargs)

    def predict_sequences(
        self, sequences: Any, lengths: ArrayLike | None = None, batch_size: int | None = None
    ) -> list[Any]:
        """Predict sequences of different lengths, each exactly as if it were predicted alone.

        Nothing is padded: sequences of equal length form batches, and a causal model takes sequences of
        different lengths together, each up to its own end. Any layer works that has a meaning on the
        sequence's own length, Bidirectional among them.

        Parameters
        ----------
        sequences : list of array_like
            Each ``(timesteps, features)``, of any length; a list or dict in it for several inputs. With
            ``lengths``: one array ``(batch, timesteps, features)``, padded at the end with anything.
        lengths : array_like of int, optional
            How many timesteps of each row of the padded array are its sequence.
        batch_size : int, optional
            Sequences computed together at most. Never changes a result; chosen where absent.

        Returns
        -------
        list
            For each sequence its output without the batch axis, ``(timesteps, units)`` or ``(units,)``; a
            list or dict in it for several outputs.

        Raises
        ------
        ValueError
            A sequence does not fit the model; the message says which.

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.GRU(3, return_sequences=True, input_shape=(None, 2))])
        >>> [y.shape for y in model.predict_sequences([np.zeros((5, 2)), np.zeros((9, 2))])]
        [(5, 3), (9, 3)]
        """
        from unrolled.streaming.sequences import predict_sequences

        result: list[Any] = predict_sequences(self, sequences, lengths, batch_size)
        return result

    def generate(
        self,
        x: Any,
        steps: int,
        *,
        window: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        from_logits: bool = False,
    ) -> NDArray[Any]:
        """Feed the model's output back as its next input, again and again; the loop is in C++.

        A causal model whose number of timesteps is free runs as a stream: every step sees all timesteps
        before it. A model with a fixed number of timesteps, or with ``window``, sees that many last ones.
        Either way the result is that of a loop around ``predict``.

        Parameters
        ----------
        x : array_like
            What to go on from: ``(batch, timesteps, features)``, or ids ``(batch, timesteps)``.
        steps : int
            How many timesteps to generate.
        window : int, optional
            Give the model only so many last timesteps.
        temperature : float, optional
            Draw tokens with probabilities raised to ``1 / temperature``; 0 takes the most likely one, which
            is the default of models that take ids. Given for a model that takes vectors, its output is
            the probabilities of tokens and their one-hot vectors are fed back.
        top_k : int, optional
            Draw among so many most likely tokens (``temperature`` is then 1 where absent).
        seed : int, optional
            The same seed draws the same tokens, each row by itself; a different one each time where absent.
        from_logits : bool
            The model's output is logits, not probabilities.

        Returns
        -------
        ndarray
            ``(batch, steps, features)`` of float32, or ``(batch, steps)`` of int32 ids for tokens.

        Raises
        ------
        ValueError
            The output cannot be the next input, an id is out of range, or an argument is.

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential(
        ...     [unrolled.layers.GRU(4, input_shape=(None, 2)), unrolled.layers.Dense(2)]
        ... )
        >>> model.generate(np.ones((1, 5, 2)), steps=3).shape
        (1, 3, 2)
        """
        from unrolled.streaming.generation import generate

        return generate(
            self, x, steps, window=window, temperature=temperature, top_k=top_k, seed=seed,
            from_logits=from_logits,
        )  # fmt: skip

    def stream(self, batch_size: int = 1) -> Stream:
        """A live stream of this model: timesteps in, outputs out, the states kept in between.

        Parameters
        ----------
        batch_size : int
            Rows that are stepped together.

        Returns
        -------
        Stream
            It keeps the weights that the model has now.

        Raises
        ------
        StreamError
            The model needs timesteps that are still to come; the message names the layer (a ``ValueError``).

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(None, 10))])
        >>> stream = model.stream()
        >>> stream.step(np.zeros((1, 10), np.float32)).shape
        (1, 3)
        """
        from unrolled.streaming import Stream

        return Stream(self, batch_size)

    def stream_pool(self, capacity: int = 1024) -> StreamPool:
        """Streams of many clients that come and go, stepped together as one batch.

        Parameters
        ----------
        capacity : int
            Clients that there is room for at first; the room doubles whenever it is full.

        Returns
        -------
        StreamPool
            It keeps the weights that the model has now.

        Raises
        ------
        StreamError
            The model needs timesteps that are still to come; the message names the layer (a ``ValueError``).

        Examples
        --------
        >>> import numpy as np, unrolled
        >>> model = unrolled.Sequential([unrolled.layers.SimpleRNN(3, input_shape=(None, 10))])
        >>> pool = model.stream_pool()
        >>> clients = [pool.open(), pool.open()]
        >>> pool.step(clients, np.zeros((2, 10), np.float32)).shape
        (2, 3)
        """
        from unrolled.streaming import StreamPool

        return StreamPool(self, capacity)

    def check_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """As ``Layer.check_call``; inputs in any structure are the model's own matter."""
        super().check_call((), kwargs)

    def _call_on_arrays(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kwargs = {key: value for key, value in kwargs.items() if value is not None}
        self.check_training(kwargs.pop("training", None))
        if not self.built:
            with self._plans.compiling:
                self.ensure_built(tree.map_leaves(np.shape, args[0]))
        if kwargs or len(args) != 1:
            return super()._call_on_arrays(args, kwargs)
        arrays = self._check_inputs(args[0])
        generation = self._plans.generation
        compiled, structure = self._compiled(arrays)
        if compiled.is_stateful:
            self._check_stateful_batch(arrays[0].shape[0])
        flat = compiled.run(arrays)
        if isinstance(structure, int) and len(arrays) == 1 and not compiled.is_stateful:
            self._plans.put(_THIN, _ThinPath(compiled, self.inputs[0].shape, arrays[0].dtype), generation)
        return tree.unflatten(structure, iter(flat))

    def _check_stateful_batch(self, rows: int) -> None:
        declared = self.inputs[0].shape[0]
        if declared is not None and rows != declared:
            raise ValueError(
                f"model {self.name!r} has stateful layers and a batch size of {declared}, got a batch of {rows}"
            )

    def lower_stream(self, plan: Lowering, flows: Sequence[Flow], x: Any, *args: Any, **kwargs: Any) -> Any:
        # Its layers look after their own inputs.
        return self.lower(plan, x, *args, **kwargs)

    def output_masks(self, plan: Lowering, result: Any, given: Any, masked: Any) -> Any:
        return result  # with the masks of the layers inside

    def _compiled(self, arrays: Sequence[NDArray[Any]]) -> tuple[CompiledPlan, Any]:
        key = tuple(array.dtype.char for array in arrays)
        cached: tuple[CompiledPlan, Any] | None = self._plans.get(key)
        # Steady calls go through nothing else.
        return self._compile_once(key, arrays) if cached is None else cached

    def _compile_once(self, key: tuple[str, ...], arrays: Sequence[NDArray[Any]]) -> tuple[CompiledPlan, Any]:
        dtypes = [str(array.dtype) for array in arrays]
        return self._plans.get_or_compile(key, lambda: self.compile_plan(dtypes))

    def compile_plan(self, dtypes: Sequence[str]) -> tuple[CompiledPlan, Any]:
        """Lower the model for inputs of ``dtypes``; the plan, and the structure of its outputs as indices."""
        return lowered(self, lambda plan: self.lower_whole(plan, dtypes))

    def lower_whole(self, lowering: Lowering, dtypes: Sequence[str]) -> tuple[CompiledPlan, Any]:
        """As ``compile_plan``, into a plan that has been begun."""
        flows = [
            Flow(lowering.ops.input(dtype, tensor.ndim), tensor.shape, dtype)
            for tensor, dtype in zip(self.inputs, dtypes, strict=True)
        ]
        result = self.lower(lowering, tree.unflatten(self.input, iter(flows)))
        flat = list(tree.leaves(result))
        structure = tree.unflatten(result, iter(range(len(flat))))
        return lowering.finish([flow.value for flow in flat]), structure

    def _check_inputs(self, x: Any) -> list[NDArray[Any]]:
        """The inputs in flattened order, checked against the model and in the dtypes that its plan takes."""
        expected = self.inputs
        if len(expected) == 1 and not isinstance(x, dict):
            values = [
                x[0]
                if isinstance(x, list | tuple) and len(x) == 1 and np.ndim(x[0]) == expected[0].ndim
                else x
            ]
        else:
            values = self._match_structure(x)
        arrays = [self._as_input(tensor, value) for tensor, value in zip(expected, values, strict=True)]
        if len({array.shape[0] for array in arrays}) > 1:
            raise ValueError(
                f"model {self.name!r}: inputs have different batch sizes {[array.shape[0] for array in arrays]}"
            )
        return arrays

    def _match_structure(self, x: Any) -> list[Any]:
        expected = self.inputs
        structure = self.input
        names = [tensor.name for tensor in expected]
        if isinstance(x, dict):
            keys = list(tree.leaves(_paths(structure))) if isinstance(structure, dict) else names
            missing = [key for key in keys if key not in x]
            if missing or len(x) != len(keys):
                raise ValueError(f"model {self.name!r}: expected a dict with keys {keys}, got {list(x)}")
            return [x[key] for key in keys]
        if not isinstance(x, list | tuple):
            raise ValueError(
                f"model {self.name!r}: expected {len(expected)} inputs {names} as a list or dict, "
                f"got {type(x).__name__}"
            )
        flat = list(tree.leaves(x)) if all(hasattr(leaf, "shape") for leaf in tree.leaves(x)) else list(x)
        if len(flat) != len(expected):
            raise ValueError(f"model {self.name!r}: expected {len(expected)} inputs {names}, got {len(flat)}")
        return flat

    def _as_input(self, tensor: KerasTensor, value: Any) -> NDArray[Any]:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise ValueError(
                f"model {self.name!r}, input {tensor.name!r}: expected numbers of shape {tensor.shape}, "
                f"got dtype {array.dtype}"
            )
        fits = array.ndim == tensor.ndim and all(
            want is None or want == got for want, got in zip(tensor.shape[1:], array.shape[1:], strict=True)
        )
        if not fits:
            raise ValueError(
                f"model {self.name!r}, input {tensor.name!r}: expected shape {tensor.shape}, got {array.shape}"
            )
        return convert_input(array, self.input_dtype(tensor, array), tensor.name)

    def input_dtype(self, tensor: KerasTensor, array: NDArray[Any]) -> str:
        """The dtype in which ``array`` enters the plan."""
        return tensor.dtype

    # ----------------------------------------------------------------- summary

    def summary(
        self,
        line_length: int | None = None,
        *,
        print_fn: Any = None,
        expand_nested: bool = False,
        show_trainable: bool = False,
    ) -> None:
        """Print the table that Keras 3 prints.

        Parameters
        ----------
        line_length : int, optional
            Characters a line; what fits the terminal, at most Keras's default, where absent.
        print_fn : callable, optional
            Called once with the whole text instead of printing it.
        expand_nested, show_trainable : bool
            As in Keras.

        Raises
        ------
        ValueError
            ``line_length`` is too small for the columns.
        """
        text = summary_text(
            self, line_length=line_length, expand_nested=expand_nested, show_trainable=show_trainable
        )
        if print_fn is None:
            print(text, end="")
        else:
            print_fn(text)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={printable(self.name)}, built={self.built}>"


# Key of the thin path among a model's plans, so that assigning a weight drops it with them.
_THIN = "thin"


class _ThinPath:
    """One array in, one out, no states: what a call on a small model costs is mostly Python."""

    __slots__ = ("_dtype", "_fixed", "_shape", "run")

    def __init__(self, compiled: CompiledPlan, shape: Shape, dtype: np.dtype[Any]) -> None:
        self.run = compiled.plan.run
        self._dtype = dtype
        self._shape = shape
        self._fixed = None if None in shape[1:] else shape[1:]

    def takes(self, x: Any) -> bool:
        """Whether ``x`` is an array that needs no conversion and has the expected shape."""
        if type(x) is not np.ndarray or x.dtype is not self._dtype:
            return False
        if self._fixed is not None:
            return bool(x.shape[1:] == self._fixed)
        shape = x.shape
        return len(shape) == len(self._shape) and all(
            want is None or want == got for want, got in zip(self._shape[1:], shape[1:], strict=True)
        )


def convert_input(array: NDArray[Any], dtype: str, name: str) -> NDArray[Any]:
    """``array`` as C-contiguous ``dtype``; floats become integers only where nothing is lost.

    Raises
    ------
    ValueError
        A float that is no integer, or an integer out of range, for an integer input.
    """
    if str(array.dtype) == dtype:
        return np.ascontiguousarray(array)
    if dtype == "int32":
        converted = array.astype(np.int32)
        if not np.array_equal(converted, array):
            raise ValueError(f"input {name!r}: expected int32 values, got {array.dtype} values that are none")
        return converted
    if dtype == "bool" and array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
        raise ValueError(f"input {name!r}: expected bool values, got {array.dtype} values other than 0 and 1")
    return np.ascontiguousarray(array, dtype=dtype)


def _paths(structure: dict[str, Any]) -> dict[str, str]:
    return {key: key for key in structure}


def _on_terminal() -> bool:
    import sys

    return sys.stderr is not None and sys.stderr.isatty()


def _concatenate(parts: list[list[NDArray[Any]]]) -> list[NDArray[Any]]:
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _run_with_progress(
    compiled: CompiledPlan, arrays: list[NDArray[Any]], max_rows: int, *, always: bool
) -> list[NDArray[Any]]:
    """Run in pieces, with a bar once it is clear that the rest will last."""
    rows = arrays[0].shape[0]
    piece = min(rows, max(max_rows, 64))
    started = time.perf_counter()
    parts = [compiled.run([array[:piece] for array in arrays], max_rows)]
    seconds_per_row = (time.perf_counter() - started) / max(piece, 1)
    remaining = (rows - piece) * seconds_per_row
    if rows <= piece:
        return parts[0]
    if not always and remaining < PROGRESS_AFTER_SECONDS:
        parts.append(compiled.run([array[piece:] for array in arrays], max_rows))
        return _concatenate(parts)
    step = max(piece, int(PROGRESS_STEP_SECONDS / max(seconds_per_row, 1e-9)))
    for start in _progress(range(piece, rows, step), rows, step):
        parts.append(compiled.run([array[start : start + step] for array in arrays], max_rows))
    return _concatenate(parts)


def _progress(starts: range, rows: int, step: int) -> Iterator[int]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    except ImportError:
        yield from starts
        return
    columns = ("predict", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("predict", total=rows, completed=starts.start)
        for start in starts:
            yield start
            progress.update(task, completed=min(start + step, rows))
