# SPDX-License-Identifier: MIT
"""Files that are written here are read by the HDF5 library and by our own reader."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np
import pytest

from unrolled.formats.hdf5 import HDF5File
from unrolled.formats.hdf5.writing import Group, write_hdf5

RANDOM = np.random.default_rng(0)


def example() -> tuple[Group, dict[str, Any]]:
    arrays = {
        "a/vars/0": RANDOM.normal(size=(3, 4)).astype(np.float32),
        "a/vars/1": np.float32(2.5).reshape(()),
        "a/vars/10": RANDOM.integers(-128, 128, (5,)).astype(np.int8),
        "b/c/vars/0": np.arange(6, dtype=np.int32).reshape(1, 2, 3),
        "empty/0": np.zeros((0, 3), np.float32),
    }
    # More members than one node has by default, whose order by bytes is not that of numbers.
    arrays |= {f"many/dense_{i}/vars/0": np.full(2, i, np.float32) for i in range(100)}
    root = Group()
    root.at("nothing")
    for path, array in arrays.items():
        *groups, name = path.split("/")
        root.at(*groups).children[name] = array
    root.at("a", "vars").attributes |= {"name": "späte Schicht", "empty": ""}
    return root, arrays


def test_the_hdf5_library_reads_what_is_written() -> None:
    root, arrays = example()
    with h5py.File(io.BytesIO(write_hdf5(root)), "r") as file:
        found: list[str] = []
        file.visititems(lambda name, value: found.append(name) if isinstance(value, h5py.Dataset) else None)
        assert sorted(found) == sorted(arrays)
        for path, array in arrays.items():
            assert file[path].dtype == array.dtype
            np.testing.assert_array_equal(file[path][()], array)
        attributes = file["a/vars"].attrs
        assert attributes["name"].decode() == "späte Schicht"
        assert list(attributes["empty"].decode().strip("\0")) == []
        assert list(file["nothing"]) == []
        assert len(file["many"]) == 100
        assert "dense_57" in file["many"]
        assert "dense_100" not in file["many"]


def test_our_reader_reads_what_is_written() -> None:
    root, arrays = example()
    file = HDF5File(write_hdf5(root), "memory")
    for path, array in arrays.items():
        np.testing.assert_array_equal(file.stored(tuple(path.split("/"))).read(), array)
    assert file.attribute(("a", "vars"), "name") == "späte Schicht"
    assert len(file.children(("many",))) == 100


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="dtype float64"):
        write_hdf5(Group({"x": np.zeros(2)}))
    with pytest.raises(ValueError, match="too long"):
        write_hdf5(Group(attributes={"name": "x" * 70_000}))
    with pytest.raises(ValueError, match="no members"):
        Group({"x": np.zeros(2, np.float32)}).at("x", "y")
