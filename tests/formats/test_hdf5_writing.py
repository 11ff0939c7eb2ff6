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


@pytest.mark.parametrize("count", [0, 1, 8, 9, 256, 257, 8_192, 8_193, 10_000])
def test_groups_of_any_width_are_read_and_take_room_for_their_members_alone(count: int) -> None:
    root = Group()
    root.at("narrow").children["x"] = np.zeros(1, np.float32)
    before = len(write_hdf5(root))
    wide = root.at("wide")
    for number in range(count):
        wide.children[f"layer_{number}"] = np.full(1, number, np.int32)
    data = write_hdf5(root)
    assert len(data) - before < 1300 + 400 * count
    with h5py.File(io.BytesIO(data), "r") as file:
        assert sorted(file["wide"]) == sorted(wide.children)
        for number in range(0, count, 53):
            assert file[f"wide/layer_{number}"][0] == number
        assert f"layer_{count}" not in file["wide"]
    ours = HDF5File(data, "memory")
    assert sorted(ours.children(("wide",))) == sorted(wide.children)
    for number in range(0, count, 97):
        assert ours.stored(("wide", f"layer_{number}")).read()[0] == number


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
