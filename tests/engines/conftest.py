# SPDX-License-Identifier: MIT
"""What the tests of engines share: a model on disk, a folder of Parquet files, and what plain predict gives."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import unrolled
from tests.tables.models import forecaster, series

ROOT = Path(__file__).resolve().parents[2]
FILES, ROWS = 6, 500


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """``model`` and ``data`` (paths), ``x``, ``expected`` (ROWS * FILES,)."""
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path_factory.mktemp("work")
    model = forecaster(20, 4)
    model.save(folder / "model.keras")
    x = series(FILES * ROWS, 20, 4)
    (folder / "data").mkdir()
    for index in range(FILES):
        rows = slice(index * ROWS, (index + 1) * ROWS)
        flat = pa.array([row.ravel().tolist() for row in x[rows]], pa.list_(pa.float32()))
        pq.write_table(
            pa.table({"id": np.arange(FILES * ROWS)[rows], "x": flat}), folder / "data" / f"{index}.parquet"
        )
    # Workers are processes of their own: they find the package where this one does.
    paths = [str(Path(unrolled.__file__).parents[1]), str(ROOT)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*paths, *filter(None, sys.path)]))
    return SimpleNamespace(
        model=str(folder / "model.keras"), data=str(folder / "data"), x=x, expected=model.predict(x)[:, 0]
    )


def check(work, ids, outputs):
    """Every row is there once, with the bits of plain predict."""
    ids = np.asarray(ids)
    order = np.argsort(ids)
    np.testing.assert_array_equal(ids[order], np.arange(FILES * ROWS))
    np.testing.assert_array_equal(np.asarray(outputs, np.float32)[order], work.expected)
