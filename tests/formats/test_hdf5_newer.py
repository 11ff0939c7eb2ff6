# SPDX-License-Identifier: MIT
"""HDF5 files as other tools and newer libraries write them, and what of that stays refused."""

from __future__ import annotations

import random
import sys
import time
import tracemalloc
from contextlib import closing

import h5py
import numpy as np
import pytest

import unrolled
from tests import fixtures
from tests.formats.test_corrupted import flip_bits, replace_fields, swap_fields, truncate
from unrolled.formats.hdf5 import HDF5File
from unrolled.formats.hdf5.library import open_with_h5py

RNG = np.random.default_rng(5)
ARRAY = RNG.normal(size=(64, 40)).astype("f4")
LAYOUTS = {
    "gzip": {"compression": "gzip", "shuffle": True},
    "lzf": {"compression": "lzf"},
    "fletcher32": {"fletcher32": True},
    "every filter": {"compression": "lzf", "shuffle": True, "fletcher32": True, "chunks": (7, 9)},
    "chunks": {"chunks": (10, 11)},
    "one chunk": {"chunks": (64, 40)},
    "one filtered chunk": {"chunks": (64, 40), "compression": "gzip"},
    "2560 chunks": {"chunks": (1, 1)},
    "filtered pages": {"chunks": (2, 1), "compression": "gzip"},
    "growing": {"maxshape": (None, None), "chunks": (5, 8)},
    "growing, filtered": {"maxshape": (None, None), "chunks": (5, 8), "compression": "gzip"},
}


def write(path, low, groups, userblock=0, order=False):
    """Groups, arrays of every layout, few and many links and attributes, and links that lead elsewhere."""
    arrays = {}
    with h5py.File(path, "w", libver=(low, "latest"), userblock_size=userblock, track_order=order) as file:
        weights = file.create_group("weights")
        for number in range(groups):
            group = weights.create_group(f"layer_{number}")
            arrays["weights", f"layer_{number}", "w"] = RNG.normal(size=(number % 7 + 1, 5)).astype("f4")
            group.create_dataset("w", data=arrays["weights", f"layer_{number}", "w"])
            group.attrs["weight_names"] = [b"w", b"v"]
        for number in range(12):
            weights.attrs[f"a{number}"] = f"text {number}"
        weights.attrs["long"] = "x" * 70_000
        if low != "earliest":
            weights.attrs["longer than a message"] = np.array([b"n" * 40] * 3000)
        for name, options in LAYOUTS.items():
            file.create_dataset(name, data=ARRAY, **options)
            arrays[name,] = ARRAY
        file["soft"], file["away"] = h5py.SoftLink("/gzip"), h5py.ExternalLink("other.h5", "/x")
    return arrays


@pytest.mark.parametrize("opener", [HDF5File, open_with_h5py], ids=["builtin", "h5py"])
@pytest.mark.parametrize("low", ["earliest", "v108", "v110", "latest"])
@pytest.mark.parametrize("groups", [3, 40, 300])
def test_files_of_every_library_version_are_read(tmp_path, low, groups, opener):
    for userblock, order in ((0, False), (2048, True)):
        path = tmp_path / f"{userblock}{order}.h5"
        arrays = write(path, low, groups, userblock, order)
        file = opener(path, "t")
        for place, array in arrays.items():
            assert np.array_equal(file.stored(place).read(), array), place
        for number in range(groups):
            assert file.attribute(("weights", f"layer_{number}"), "weight_names") == ["w", "v"]
        assert file.attribute(("weights",), "a7") == "text 7"
        assert file.attribute(("weights",), "long") == "x" * 70_000
        if low != "earliest":
            assert file.attribute(("weights",), "longer than a message") == ["n" * 40] * 3000
        assert len(list(file.walk(()))) == groups + 2
        for name in ("soft", "away"):
            with pytest.raises(unrolled.ModelFileError, match="never followed"):
                file.stored((name,))
        file.close()


def test_fletcher32_finds_damage(tmp_path):
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.ones((8, 8), "f4"), chunks=(8, 8), fletcher32=True)
    data = path.read_bytes()
    path.write_bytes(data.replace(np.ones(64, "f4").tobytes(), np.ones(64, "f4").tobytes()[:-1] + b"\x40"))
    with (
        closing(HDF5File(path, "t")) as file,
        pytest.raises(unrolled.ModelFileError, match="checksum is wrong"),
    ):
        file.stored(("a",)).read()


def rewritten(source, target, low):
    with h5py.File(source) as old, h5py.File(target, "w", libver=(low, "latest")) as new:
        for name in old:
            old.copy(name, new)
        for key, value in old.attrs.items():
            new.attrs[key] = value


@pytest.mark.parametrize("low", ["v108", "latest"])
def test_models_that_were_rewritten_give_the_same_weights(tmp_path, low):
    chosen = [f for f in fixtures.all_fixtures() if f.path.suffix == ".h5"][::12]
    assert len(chosen) > 8
    for fixture in chosen:
        rewritten(fixture.path, tmp_path / "m.h5", low)
        expected = unrolled.load_model(fixture.path).get_weights()
        for reader in ("builtin", "h5py"):
            got = unrolled.load_model(tmp_path / "m.h5", hdf5=reader).get_weights()
            assert all(np.array_equal(a, b) for a, b in zip(expected, got, strict=True))


def test_what_is_refused_names_the_reader_that_takes_it(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w", libver="latest") as file:
        file.create_dataset("a", data=ARRAY, maxshape=(None, 40), chunks=(4, 40))
        file.create_dataset("b", data=ARRAY, scaleoffset=4)
    with closing(HDF5File(tmp_path / "m.h5", "t")) as file:
        for name in ("a", "b"):
            with pytest.raises(unrolled.ModelFileError, match='hdf5="h5py"'):
                file.stored((name,)).read()
    with closing(open_with_h5py(tmp_path / "m.h5", "t")) as file:
        assert np.array_equal(file.stored(("a",)).read(), ARRAY)


def test_h5py_is_asked_for_by_name_and_may_be_absent(tmp_path, monkeypatch):
    path = next(f for f in fixtures.all_fixtures() if f.path.suffix == ".h5").path
    with pytest.raises(ValueError, match="'builtin' or 'h5py'"):
        unrolled.load_model(path, hdf5="pytables")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match="pip install h5py"):
        unrolled.load_model(path, hdf5="h5py")
    assert unrolled.load_model(path).layers


@pytest.mark.parametrize(
    "mutate", [truncate, flip_bits, replace_fields, swap_fields], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("low", ["v108", "latest"])
def test_damaged_files_of_newer_structures_are_read_or_refused(tmp_path, low, mutate):
    path = tmp_path / "m.h5"
    arrays = write(path, low, 20)
    original = path.read_bytes()
    rng = random.Random(f"{low} {mutate.__name__}")
    tracemalloc.start()
    slowest = 0.0
    for _ in range(60):
        data = bytearray(original)
        mutate(data, rng)
        started = time.process_time()
        read_all(bytes(data), arrays)
        slowest = max(slowest, time.process_time() - started)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert slowest < 5.0
    assert peak < 32 << 20


def read_all(data, arrays):
    """Everything of a file, each part on its own; only the two errors may come out."""
    parts = [("attribute", (("weights",), "a7")), ("attribute", (("weights",), "long"))]
    parts += [("stored", (place,)) for place in arrays]
    try:
        file = HDF5File(data, "t")
    except unrolled.ModelFileError:
        return
    for method, arguments in parts:
        message = ""
        try:
            found = getattr(file, method)(*arguments)
            if method == "stored":
                found.read()
        except unrolled.ModelFileError as error:
            message = str(error)
        assert message.isprintable()
    file.close()
