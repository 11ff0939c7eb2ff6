# SPDX-License-Identifier: MIT
"""What ``model.predict`` takes beside arrays: frames, Arrow tables, torch tensors, generators of batches.

Which library an object belongs to is decided by the names of its classes' modules: none is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unrolled.data.arrow import column_values, import_pyarrow
from unrolled.data.columns import arranged, choose_columns, ports_of
from unrolled.data.predicting import concatenated, predict_leaves
from unrolled.data.values import TableError, Values, from_objects
from unrolled.engine import tree

if TYPE_CHECKING:
    from unrolled.models import Model


def library_of(x: Any) -> str:
    """The package that a type, or the type that it is derived from, comes from: "pandas", "polars", ..."""
    known = ("pandas", "polars", "pyarrow", "torch", "dask")
    for cls in type(x).__mro__:
        package = cls.__module__.partition(".")[0]
        if package in known:
            return package
    return type(x).__module__.partition(".")[0]


def columns_of(x: Any) -> tuple[list[str], Callable[[str], Values]] | None:
    """The columns of a frame or table: their names, and what gives the values of one; None for other objects.

    Raises
    ------
    TableError
        A lazy or distributed frame, or a single column.
    """
    library = library_of(x)
    if library == "pandas":
        if not hasattr(x, "columns"):
            raise TableError(f"expected a DataFrame, got {type(x).__name__}: use to_frame() or to_numpy()")
        positions = {str(name): position for position, name in enumerate(x.columns)}
        names = [str(name) for name in x.columns]
        return names, lambda name: _pandas_values(x.iloc[:, positions[name]], name)
    if library == "dask":
        raise TableError(
            "a Dask collection is predicted by unrolled.batch.Predictor(model).map(frame), or compute() it"
        )
    if library == "polars" and hasattr(x, "collect"):
        raise TableError("expected a DataFrame, got a LazyFrame: collect() it first")
    if library in ("polars", "pyarrow") or hasattr(type(x), "__arrow_c_stream__"):
        pa = import_pyarrow()
        if not hasattr(x, "schema"):
            raise TableError(f"expected a table of named columns, got {library} {type(x).__name__}")
        table = x if isinstance(x, pa.Table | pa.RecordBatch) else pa.table(x)
        return table.schema.names, lambda name: column_values(table.column(name), name)
    return None


def _pandas_values(series: Any, name: str) -> Values:
    if isinstance(series.dtype, np.dtype):
        if series.dtype.kind in "fiub":
            values: NDArray[Any] = series.to_numpy()
            return values
        if series.dtype.kind == "O":
            return from_objects(series.tolist(), name)
    pa = import_pyarrow()
    return column_values(pa.array(series, from_pandas=False), name)


def predict_other(model: Model, x: Any, batch_size: int | None, verbose: str | int) -> tuple[Any, bool]:
    """``model.predict`` of what is neither arrays nor lists of them.

    Parameters
    ----------
    model : Model
    x : object
        A DataFrame of pandas or polars, a table of Arrow or of anything that has ``__arrow_c_stream__``; a
        tensor of torch; a generator, ``tf.data.Dataset`` or other iterable of batches, each of which is what
        ``predict`` takes or, as in Keras, a tuple ``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``.

    Returns
    -------
    ndarray, or a list or dict of them
        As ``predict``. An output of which rows differ in length is a list of arrays.
    bool
        Whether the object is any of these; the result is None where it is not.

    Raises
    ------
    ValueError
        The object does not fit.
    """
    if library_of(x) == "torch" and hasattr(x, "detach"):
        return model.predict(tensor_array(x), batch_size=batch_size, verbose=verbose), True
    found = columns_of(x)
    if found is not None:
        names, get = found
        ports = ports_of(model)
        chosen = choose_columns(ports, names)
        inputs = [arranged(port, [(name, get(name)) for name in chosen[port.name]]) for port in ports]
        leaves, like = predict_leaves(model, inputs, batch_size, verbose)
        return tree.unflatten(like, iter(leaves)), True
    if isinstance(x, Iterable) and not isinstance(x, str) and not _is_array(x):
        return _predict_batches(model, iter(x), batch_size, type(x).__name__), True
    return None, False


def _is_array(x: Any) -> bool:
    """Whether NumPy can look at the memory of an object."""
    if hasattr(type(x), "__array__") or hasattr(type(x), "__array_interface__"):
        return True
    try:
        memoryview(x)
    except TypeError:
        return False
    return True


def _has_targets(batch: Any, inputs: int) -> bool:
    """Whether a batch is ``(x, y)`` or the like: a tuple, as in Keras, or the list that torch's loaders make."""
    if not 1 <= len(batch if isinstance(batch, tuple | list) else ()) <= 3:
        return False
    return isinstance(batch, tuple) or (inputs == 1 and hasattr(batch[0], "shape"))


def tensor_array(tensor: Any) -> NDArray[Any]:
    """A tensor of torch as an array; one on the CPU that NumPy knows the dtype of is not copied."""
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    array: NDArray[Any] = tensor.numpy()
    return array


def _predict_batches(model: Model, batches: Iterator[Any], batch_size: int | None, what: str) -> Any:
    results = []
    for number, batch in enumerate(batches):
        if _has_targets(batch, len(model.inputs)):
            batch = batch[0]
        try:
            results.append(model.predict(batch, batch_size=batch_size, verbose=0))
        except (ValueError, TypeError) as error:
            raise type(error)(f"batch {number} of {what}: {error}") from error
    if not results:
        raise ValueError(f"{what} gave no batch")
    return concatenated(results)
