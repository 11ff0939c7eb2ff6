# SPDX-License-Identifier: MIT
"""The user's own functions in place of code that a file names and that is never run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unrolled.engine import tree
from unrolled.engine.lowering import Flow, Lowering
from unrolled.engine.variables import Variable
from unrolled.errors import printable
from unrolled.layers.base import Layer
from unrolled.layers.symbolic import KerasTensor

# Two sets of sizes that unknown axes are tried with: what changes between them is unknown in the output.
_TRIED_BATCH = (2, 3)
_TRIED_SIZE = (5, 7)


class PythonLayer(Layer):
    """A layer of a file, computed by a function of the user's: made by ``load_model(custom_objects=...)``.

    The function is called with NumPy arrays, arguments as in Keras's call (a list where the layer took a
    list), then the layer's weights in the file's order, and the call's keywords. It gets ``mask=`` (bool
    arrays or None) where it has a parameter of this name. The first axis of what it gives, one array or a
    list of them, is the batch. No mask passes on.

    Parameters
    ----------
    function : callable
        What computes.
    class_name : str
        The class in the file.
    arrays : sequence of (str, ndarray)
        The weights that the file has for the layer.
    **kwargs
        Options of ``Layer``.
    """

    # Its weights are what the file has, in any number of groups.
    takes_any_weights = True

    def __init__(
        self,
        function: Callable[..., Any],
        class_name: str,
        arrays: Sequence[tuple[str, NDArray[Any]]] = (),
        **kwargs: Any,
    ) -> None:
        self._class_name = printable(class_name)
        super().__init__(**kwargs)
        self.function = function
        self._own_variables = [Variable(array, name) for name, array in arrays]
        self.built = True
        try:
            self._takes_mask = "mask" in inspect.signature(function).parameters
        except (TypeError, ValueError):  # some functions of C have no signature
            self._takes_mask = False

    @property
    def class_name(self) -> str:
        return self._class_name

    def ensure_built(self, input_shape: Any) -> None:
        """Nothing to do: the weights came with the file."""

    def check_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Nothing to do: the function says what it takes."""

    def check_input_shape(self, input_shape: Any) -> None:
        """Nothing to do: the function says what it takes."""

    # -------------------------------------------------------------------- call

    def _run(self, args: Any, kwargs: Any) -> Any:
        """The function on arrays; arrays in the dtypes of plans."""
        weights = [variable.numpy() for variable in self._own_variables]
        result = self.function(*args, *weights, **kwargs)
        flat = list(result) if isinstance(result, list | tuple) else [result]
        arrays = [_plain(array) for array in flat]
        return arrays if isinstance(result, list | tuple) else arrays[0]

    def describe_output(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Shapes and dtypes: the function is tried on zeros of two batch sizes."""
        kwargs = self._keywords(kwargs)
        masks = {"mask": None} if self._takes_mask else {}
        tried = []
        for batch, size in zip(_TRIED_BATCH, _TRIED_SIZE, strict=True):

            def zeros(leaf: Any, batch: int = batch, size: int = size) -> Any:
                if not isinstance(leaf, KerasTensor | Flow):
                    return leaf
                shape = [size if length is None else length for length in leaf.shape]
                shape[0] = batch if leaf.shape[0] is None else leaf.shape[0]
                return np.zeros(shape, leaf.dtype)

            try:
                with np.errstate(all="ignore"):
                    tried.append(
                        self._run(tree.map_leaves(zeros, list(args)), tree.map_leaves(zeros, kwargs) | masks)
                    )
            except Exception as error:
                raise ValueError(
                    f"layer {printable(self.name)!r} ({printable(self.class_name)}): the function given for it "
                    f"fails on zeros: {type(error).__name__}: {error}"
                ) from error
        first, second = (result if isinstance(result, list) else [result] for result in tried)
        described = [self._described(a, b) for a, b in zip(first, second, strict=True)]
        return described if isinstance(tried[0], list) else described[0]

    def _described(self, first: NDArray[Any], second: NDArray[Any]) -> Any:
        if first.ndim != second.ndim or first.ndim == 0:
            raise ValueError(
                f"layer {printable(self.name)!r}: the function given for it must give arrays with the batch "
                f"first, got shapes {first.shape} and {second.shape} for two batches"
            )
        sizes = (a if a == b else None for a, b in zip(first.shape, second.shape, strict=True))
        return (tuple(sizes), str(first.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        described = self.describe_output((KerasTensor(input_shape),), {})
        return [item[0] for item in described] if isinstance(described, list) else described[0]

    @staticmethod
    def _keywords(kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The keywords that are the function's: a call in a graph has Keras's own ones besides."""
        unset = {"training", "name"} | {key for key in ("mask",) if kwargs.get(key) is None}
        return {key: value for key, value in kwargs.items() if key not in unset or (key == "mask" and value)}

    # ---------------------------------------------------------------- lowering

    def lower(self, plan: Lowering, x: Any, *args: Any, **kwargs: Any) -> Any:
        return self.lower_call(plan, (x, *args), kwargs)

    def lower_call(self, plan: Lowering, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        kwargs = self._keywords(kwargs)
        mask = kwargs.pop("mask", None)
        flows = [leaf for leaf in tree.leaves([list(args), kwargs]) if isinstance(leaf, Flow)]
        operands = [flow.value for flow in flows]
        masks: Any = None
        if self._takes_mask:
            if mask is None:
                mask = tree.map_leaves(_mask_of, args[0])
            masks = tree.map_leaves(lambda leaf: leaf.value if isinstance(leaf, Flow) else leaf, mask)
            operands += [value for value in tree.leaves(masks) if value is not None]
        described = self.describe_output(args, kwargs)
        outputs = described if isinstance(described, list) else [described]

        def function(*arrays: NDArray[Any]) -> list[NDArray[Any]]:
            given = iter(arrays)
            call = tree.map_leaves(
                lambda leaf: next(given) if isinstance(leaf, Flow) else leaf, [list(args), _ordered(kwargs)]
            )
            if self._takes_mask:
                found = tree.map_leaves(lambda leaf: None if leaf is None else next(given), masks)
                call[1] = call[1] | {"mask": found}
            result = self._run(*call)
            results = result if isinstance(result, list) else [result]
            for array, (shape, dtype) in zip(results, outputs, strict=True):
                fits = array.ndim == len(shape) and str(array.dtype) == dtype
                if not fits or any(
                    want not in (None, got) for want, got in zip(shape[1:], array.shape[1:], strict=True)
                ):
                    raise ValueError(
                        f"layer {printable(self.name)!r}: the function given for it gave {array.dtype} of shape "
                        f"{array.shape}, on zeros {dtype} of shape {shape}"
                    )
            return results

        values = plan.call_python(
            self.name, function, operands, [(dtype, len(shape)) for shape, dtype in outputs]
        )
        result = [Flow(value, shape, dtype) for value, (shape, dtype) in zip(values, outputs, strict=True)]
        return result if isinstance(described, list) else result[0]

    def get_config(self) -> dict[str, Any]:
        raise ValueError(
            f"layer {printable(self.name)!r} ({printable(self.class_name)}) is a Python function, which no "
            "config describes"
        )


def _mask_of(leaf: Any) -> Any:
    return leaf.mask if isinstance(leaf, Flow) else None


def _ordered(kwargs: dict[str, Any]) -> dict[str, Any]:
    """In the order of ``tree.leaves``."""
    return {key: kwargs[key] for key in sorted(kwargs)}


def _plain(value: Any) -> NDArray[Any]:
    """An array in a dtype of plans: bool, int32 or float32."""
    array = np.asarray(value)
    if array.dtype.kind in "iu":
        return np.ascontiguousarray(array, np.int32)
    if array.dtype.kind == "b":
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(array, np.float32)
