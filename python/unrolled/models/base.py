# SPDX-License-Identifier: MIT
"""What Sequential and functional models share: structure, plans, predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.engine.lowering import CompiledPlan, Flow, Lowering, lowered
from unrolled.errors import printable
from unrolled.layers.base import Layer
from unrolled.layers.symbolic import KerasTensor, Node
from unrolled.models.inputs import check_inputs, refuse_callbacks
from unrolled.models.progress import concatenate, on_terminal, run_with_progress
from unrolled.models.thin_path import THIN, ThinPath

if TYPE_CHECKING:
    from unrolled.models.model import Model
    from unrolled.spec import ModelFile
    from unrolled.streaming.compiled import CompiledStream


class BaseModel(Layer):
    """Base of ``Model``: what runs a graph of layers as one plan."""

    config_class_name: ClassVar[str] = "Functional"
    keeps_any_attribute: ClassVar = True

    def __init__(self, *, name: str | None = None, trainable: bool = True, **kwargs: Any) -> None:
        super().__init__(name=name, trainable=trainable, **kwargs)
        self.source: ModelFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self.source is not None:  # its weights may be an open file, and are in the variables
            state["source"] = replace(self.source, weights=None)
        return state

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

    def reset_state(self) -> None:
        """Zero the states of all stateful layers."""
        for layer in self.walk():
            if getattr(layer, "stateful", False) and not isinstance(layer, BaseModel):
                layer.reset_state()  # type: ignore[attr-defined]

    # ----------------------------------------------------------------- running

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
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
        steps : int, optional
            Predict so many batches of ``batch_size`` (32 where absent, as in Keras) at most.
        callbacks : None or empty list
            For Keras's signature: nothing calls back here.

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
        refuse_callbacks(callbacks)
        if not isinstance(x, np.ndarray | list | tuple | dict | np.generic | int | float):
            from unrolled.data.frames import predict_other

            result, is_table = predict_other(cast("Model", self), x, batch_size, verbose)
            if is_table and steps is not None:
                raise ValueError(
                    "steps: counts batches of arrays; of tables and generators give as many as are wanted"
                )
            if is_table:
                return result
        if not self.built:  # as Keras does with a model that has not seen its input's shape
            with self._plans.compiling:
                self.ensure_built(np.shape(x))
        arrays = check_inputs(self, x)
        if batch_size is not None and (
            not isinstance(batch_size, int | np.integer) or not 1 <= batch_size < 2**63
        ):
            raise ValueError(f"batch_size: expected a positive integer below 2**63, got {batch_size!r}")
        if steps is not None:
            if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 1:
                raise ValueError(f"steps: expected a positive integer, got {steps!r}")
            arrays = [array[: steps * (batch_size or 32)] for array in arrays]
        compiled, structure = self.compiled_for(arrays)
        rows = arrays[0].shape[0]
        if compiled.is_stateful:
            step = batch_size or self.inputs[0].shape[0] or rows
            for start in range(0, rows, step or 1):
                self._check_stateful_batch(min(step, rows - start))
            flat = concatenate(
                [compiled.run([a[i : i + step] for a in arrays]) for i in range(0, rows, step or 1)]
            )
            if not flat:
                flat = compiled.run(arrays)
        elif any(array.dtype.kind == "O" for array in arrays):
            # Text: rows may be padded to the longest of those computed together, so all are.
            flat = compiled.run(arrays)
        elif verbose in (1, True) or (verbose == "auto" and on_terminal()):
            flat = run_with_progress(compiled, arrays, batch_size or 0, always=verbose != "auto")
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
            thin = self._plans.get(THIN)
            if thin is not None and thin.takes(args[0]):
                return thin.run(args)[0]
        return super().__call__(*args, **kwargs)

    def check_text(self, tensors: Sequence[KerasTensor | Flow]) -> None:
        """Nothing to do: the layers inside check what reaches them."""

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
        arrays = check_inputs(self, args[0])
        generation = self._plans.generation
        compiled, structure = self.compiled_for(arrays)
        if compiled.is_stateful:
            self._check_stateful_batch(arrays[0].shape[0])
        flat = compiled.run(arrays)
        is_thin = isinstance(structure, int) and len(arrays) == 1 and arrays[0].dtype.kind != "O"
        if is_thin and not compiled.is_stateful:
            self._plans.put(THIN, ThinPath(compiled, self.inputs[0].shape, arrays[0].dtype), generation)
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

    def compiled_for(self, arrays: Sequence[NDArray[Any]]) -> tuple[CompiledPlan, Any]:
        """The plan for arrays of these dtypes, compiled once, and the structure of its outputs as indices."""
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

    def vocabularies(self) -> list[int]:
        """How many ids each embedding knows."""
        return [layer.input_dim for layer in self.walk() if hasattr(layer, "input_dim")]

    def compile_stream(self) -> CompiledStream:
        """Lower the model for streams. Raises ``StreamError``."""
        from unrolled.streaming.compiled import CompiledStream

        return CompiledStream.lowered(cast("Model", self), Lowering(self, is_streaming=True))

    def lower_whole(self, lowering: Lowering, dtypes: Sequence[str]) -> tuple[CompiledPlan, Any]:
        """As ``compile_plan``, into a plan that has been begun."""
        flows = [
            lowering.input("string" if tensor.dtype == "string" else dtype, tensor.shape)
            for tensor, dtype in zip(self.inputs, dtypes, strict=True)
        ]
        result = self.lower(lowering, tree.unflatten(self.input, iter(flows)))
        flat = list(tree.leaves(result))
        if any(flow is given and given.dtype == "string" for flow in flat for given in flows):
            raise ValueError(f"model {self.name!r}: an output is an input of text, which no layer reads")
        structure = tree.unflatten(result, iter(range(len(flat))))
        return lowering.finish([flow.value for flow in flat]), structure

    def input_dtype(self, tensor: KerasTensor, array: NDArray[Any]) -> str:
        """The dtype in which ``array`` enters the plan."""
        return tensor.dtype

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={printable(self.name)}, built={self.built}>"
