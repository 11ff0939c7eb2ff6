# SPDX-License-Identifier: MIT
"""A model as a function on tables that any engine can send to its workers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import unrolled
from unrolled.batch.cache import cached, digest_of_model, digest_of_path
from unrolled.batch.threads import threads_held
from unrolled.data.arrow import import_pyarrow, to_arrow
from unrolled.data.columns import Columns
from unrolled.data.frames import columns_of, library_of
from unrolled.data.predicting import TablePredictor
from unrolled.data.values import TableError, Values, from_objects, row_count

if TYPE_CHECKING:
    import pyarrow as pa

    from unrolled.models import Model


class Predictor:
    """A model on tables: Arrow, pandas, polars or a dict of arrays in, the same kind out.

    It pickles, and loads its model when it is first called: once a process, however many tasks run there.

    Parameters
    ----------
    model : Model or path-like
        A model goes along when this object is pickled. A path is opened by every worker, which must see the
        same file.
    columns : str, sequence of str, or mapping, optional
        The columns that fill the model's input, in order; for several inputs a mapping from the input's name
        to its column or columns. Where absent: the columns named as the inputs, or, for one input, all
        columns but ``keep``.
    keep : sequence of str
        Columns that are carried along, before the outputs.
    batch_size : int, optional
        Rows computed together at most. Never changes a result.
    threads : int, optional
        Threads of a call; calls at once in one process share as many as the first of them asks for. One by
        default, since an engine runs a worker on every processor; None: as many as
        ``unrolled.get_num_threads()``.

    Raises
    ------
    FileNotFoundError
        There is no such file.

    Examples
    --------
    >>> import numpy as np, unrolled
    >>> from unrolled.batch import Predictor
    >>> model = unrolled.Sequential([unrolled.layers.GRU(3, input_shape=(2, 4))])
    >>> predict = Predictor(model, columns="x", keep=["id"])
    >>> table = predict({"id": np.arange(5), "x": np.zeros((5, 2, 4))})
    >>> table["id"].shape, table["output"].shape
    ((5,), (5, 3))
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        columns: Columns = None,
        keep: Sequence[str] = (),
        batch_size: int | None = None,
        threads: int | None = 1,
    ) -> None:
        if isinstance(model, str | os.PathLike):
            self._path: str | None = os.path.abspath(os.fspath(model))
            self._model: Model | None = None
            self._digest = digest_of_path(self._path)
        else:
            model.check_built()
            self._path, self._model, self._digest = None, model, ""
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise ValueError(f"threads: expected a positive integer or None, got {threads!r}")
        self.columns = columns
        self.keep = [keep] if isinstance(keep, str) else list(keep)
        self.batch_size = batch_size
        self.threads = threads
        self._tables: TablePredictor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tables": None, "_digest": self.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        sent = self._model
        if sent is not None:
            # A copy that nobody else holds: tasks of one process share the first that came.
            self._model = cached(self._digest, lambda: sent)

    @property
    def digest(self) -> str:
        """What tells this model from others: SHA-256 of its file, or of its structure and weights."""
        return self._digest if self._model is None else digest_of_model(self._model)

    @property
    def tables(self) -> TablePredictor:
        """The loaded model with its columns.

        Raises
        ------
        ValueError
            The file has changed since this object was made, or the model cannot run on tables.
        """
        if self._tables is None:
            # A model that was given is the caller's, who may change it: it is not shared.
            model = cached(self._digest, self._load) if self._model is None else self._model
            self._tables = TablePredictor(model, self.columns, self.keep, self.batch_size)
        return self._tables

    @property
    def model(self) -> Model:
        """The model, loaded."""
        return self.tables.model

    def _load(self) -> Model:
        assert self._path is not None
        if digest_of_path(self._path) != self._digest:
            raise ValueError(f"{self._path}: has another content here than where the Predictor was made")
        return unrolled.load_model(self._path)

    def __call__(self, table: Any) -> Any:
        """Predict the rows of a table.

        Parameters
        ----------
        table : pyarrow.Table or RecordBatch, pandas or polars DataFrame, or dict of arrays
            Columns of numbers, lists or arrays; see ``docs/tables.md``.

        Returns
        -------
        the same kind
            The kept columns, then the outputs: "output"; "output_0", ...; or the keys of the model's dict.
            Frames and tables have a number a row, or lists; a dict has arrays ``(rows, ...)``.

        Raises
        ------
        ValueError
            The table does not fit; the message names the column and the row.
        """
        if isinstance(table, dict):
            return self._predict_dict(table)
        library = library_of(table)
        found = columns_of(table)
        if found is None:
            raise TableError(f"expected a table or a dict of arrays, got {type(table).__name__}")
        names, get = found
        if library == "pyarrow":
            return self._predict_arrow(table)
        with threads_held(self.threads):
            named = self.tables.predict(get, names)
        if library == "pandas":
            columns = {name: _objects(values) for name, values in named.items()}
            return table[self.keep].assign(**columns)
        if library == "polars":
            import polars

            series = {name: polars.from_arrow(to_arrow(values)) for name, values in named.items()}
            return table.select(self.keep).with_columns(**series)
        raise TableError(f"expected a table of Arrow, pandas or polars, got {type(table).__name__}")

    def _predict_dict(self, table: dict[str, Any]) -> dict[str, Any]:
        def get(name: str) -> Values:
            array = np.asarray(table[name])
            return from_objects(list(array), name) if array.dtype == object else array

        with threads_held(self.threads):
            named = self.tables.predict(get, list(table))
        return {name: table[name] for name in self.keep} | named

    def _predict_arrow(self, table: pa.Table | pa.RecordBatch) -> pa.Table | pa.RecordBatch:
        pa = import_pyarrow()
        if isinstance(table, pa.RecordBatch):
            with threads_held(self.threads):
                return self.tables.predict_batch(table)
        return pa.Table.from_batches(list(self.batches(table.to_batches())), self.tables.schema(table.schema))

    def batches(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Record batches in, record batches out: what PySpark's ``mapInArrow`` takes.

        Parameters
        ----------
        batches : iterable of pyarrow.RecordBatch

        Yields
        ------
        pyarrow.RecordBatch
            The kept columns and the outputs.
        """
        first_row = 0
        rows = self.tables.rows_at_once()
        for batch in batches:
            for start in range(0, batch.num_rows, rows):
                with threads_held(self.threads):
                    predicted = self.tables.predict_batch(batch.slice(start, rows), first_row + start)
                yield predicted
            first_row += batch.num_rows

    def column(self, *columns: Any) -> Any:
        """One output for columns of Arrow or a Series of polars: what functions in SQL and expressions take.

        Parameters
        ----------
        *columns : pyarrow.Array, pyarrow.ChunkedArray or polars.Series
            The model's columns, in order: those of ``columns``, or of each input one.

        Returns
        -------
        pyarrow.Array or polars.Series
            The model's first output.
        """
        pa = import_pyarrow()
        is_polars = library_of(columns[0]) == "polars"
        arrays = [column.to_arrow() if is_polars else column for column in columns]
        names = self._names_of_columns(len(arrays))
        table = pa.table(dict(zip(names, arrays, strict=True)))
        with threads_held(self.threads):
            get = columns_of(table)
            assert get is not None
            named = self._positional().predict(get[1], names)
        result = to_arrow(next(iter(named.values())))
        if is_polars:
            import polars

            return polars.from_arrow(result)
        return result

    def _names_of_columns(self, count: int) -> list[str]:
        ports = self.tables.ports
        if len(ports) > 1 and count != len(ports):
            raise TableError(f"expected {len(ports)} columns, one for each input, got {count}")
        return [port.name for port in ports] if len(ports) > 1 else [f"column {i + 1}" for i in range(count)]

    def _positional(self) -> TablePredictor:
        return TablePredictor(self.model, None, (), self.batch_size)

    def map(self, frame: Any) -> Any:
        """Predict a Dask DataFrame: lazily, partition by partition, in the workers.

        Parameters
        ----------
        frame : dask.dataframe.DataFrame
            Read it with ``dtype_backend="pyarrow"`` if it has columns of lists.

        Returns
        -------
        dask.dataframe.DataFrame
            Not computed yet; ``to_parquet`` writes it part by part.
        """
        from unrolled.batch.dask import map_frame

        return map_frame(self, frame)


def _objects(values: Values) -> Any:
    """A column of pandas: numbers, or an object column of arrays."""
    if not isinstance(values, list):
        if values.ndim > 1 and values.shape[-1] == 1:
            values = values[..., 0]
        if values.ndim == 1:
            return values
    column = np.empty(row_count(values), dtype=object)
    for index, row in enumerate(values):
        column[index] = row
    return column
